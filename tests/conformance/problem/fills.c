/* SPDX-License-Identifier: MIT */
#include "problem/fills.h"

#include <stdlib.h>
#include <string.h>

/* Rows in memory that ends at an unreadable page. */
static struct rows *add_rows(struct grid_problem *problem, int64_t rows, int64_t columns, size_t element)
{
    struct rows *source = &problem->sources[problem->source_count++];

    rows_make(source, PLACE_ENDS_AT_GUARD, rows, columns, element);
    return source;
}

/* Draws one array and stores it as `dtype`. */
static mglu_array add_source(struct grid_problem *problem, enum role role, mglu_dtype dtype, int64_t rows,
                             int64_t columns, struct random *random)
{
    struct rows *source = add_rows(problem, rows, columns, mglu_dtype_size(dtype));
    float *numbers = draw_matrix(problem->test, role, rows, columns, random);

    rows_write(source, dtype, numbers);
    free(numbers);
    return (mglu_array){.data = rows_at(source, 0), .dtype = dtype};
}

_Static_assert(MGLU_DTYPE_COUNT == 5, "a new quantised dtype needs its quants here, and the bytes of a row below");

/* Writes the quant of a column in a row of q8_0 or q4_0. */
static void write_quant(unsigned char *row, mglu_dtype dtype, int64_t column, int quant)
{
    unsigned char *pair = row + column / 32 * 16 + column % 16;

    if (dtype == MGLU_DTYPE_Q8_0)
        row[column] = (unsigned char)quant;
    else if (column % 32 < 16)
        *pair = (unsigned char)((*pair & 0xf0) | (quant + 8));
    else
        *pair = (unsigned char)((*pair & 0x0f) | (quant + 8) << 4);
}

/*
 * Writes small integers as quants and scales that represent them exactly: a group's scale is 1, 1/2 or -1, so that a
 * wrong group's scale changes the result. Nibbles of padding are not zero: they must be ignored.
 */
static void write_quantised(struct rows *quants, struct rows *scales, mglu_dtype dtype, const float *numbers,
                            int64_t columns, struct random *random)
{
    static const float choices[] = {1, 0.5f, -1};

    rows_fill(quants, 0x22);
    for (int64_t i = 0; i < quants->count * columns; i++) {
        int64_t row = i / columns, column = i % columns;
        unsigned char *scale = rows_at(scales, row) + column / 32 * 2;
        float chosen = choices[random_u64(random) % 3];
        if (column % 32 == 0 && mglu_convert(&chosen, MGLU_DTYPE_F32, scale, MGLU_DTYPE_F16, 1) != MGLU_OK)
            exit(EXIT_FAILURE);
        if (mglu_convert(scale, MGLU_DTYPE_F16, &chosen, MGLU_DTYPE_F32, 1) != MGLU_OK)
            exit(EXIT_FAILURE);
        write_quant(rows_at(quants, row), dtype, column, (int)(numbers[i] / chosen));
    }
}

/* A matrix of weights. The library quantises floats, except for exact numbers. */
static mglu_array add_matrix(struct grid_problem *problem, enum role role, int64_t rows, int64_t columns,
                             struct random *random)
{
    const struct grid_case *test = problem->test;
    bool quantised = mglu_dtype_is_quantised(test->weight);
    struct rows *quants, *scales;
    float *numbers;

    if (!quantised || test->fill < FILL_EXACT)
        return add_source(problem, role, quantised ? MGLU_DTYPE_F32 : test->weight, rows, columns, random);
    quants = add_rows(problem, rows, test->weight == MGLU_DTYPE_Q8_0 ? columns : (columns + 31) / 32 * 16, 1);
    scales = add_rows(problem, rows, (columns + 31) / 32, 2);
    numbers = draw_matrix(test, role, rows, columns, random);
    write_quantised(quants, scales, test->weight, numbers, columns, random);
    free(numbers);
    return (mglu_array){.data = rows_at(quants, 0), .dtype = test->weight, .scales = rows_at(scales, 0)};
}

static mglu_mask_array add_masks(struct grid_problem *problem, struct random *random)
{
    const struct grid_case *test = problem->test;

    problem->masks = add_rows(problem, test->n_masks * test->d, test->h, 1);
    draw_masks(test, problem->masks, random);
    return (mglu_mask_array){rows_at(problem->masks, 0), MGLU_MASK_BYTES};
}

static void make_weights(struct grid_problem *problem, struct random *random)
{
    const struct grid_case *test = problem->test;
    mglu_weights_desc *desc = &problem->weights;
    int64_t terms = test->n_masks ? test->n_masks : 1;

    *desc = (mglu_weights_desc){.struct_size = sizeof *desc,
                                .kind = test->kind,
                                .dtype = test->weight,
                                .hidden_size = test->h,
                                .intermediate_size = test->d,
                                .output_size = test->out,
                                .n_masks = test->n_masks};
    desc->weight = add_matrix(problem, ROLE_WEIGHT, test->d, test->h, random);
    if (test->kind == MGLU_KIND_MASKED)
        desc->masks = add_masks(problem, random);
    else
        desc->value_weight = add_matrix(problem, ROLE_WEIGHT, test->d, test->h, random);
    if (test->bias == BIAS_GATE || test->bias == BIAS_BOTH)
        desc->gate_bias = add_source(problem, ROLE_GATE_BIAS, MGLU_DTYPE_F32, terms, test->d, random);
    if (test->bias == BIAS_VALUE || test->bias == BIAS_BOTH)
        desc->value_bias = add_source(problem, ROLE_VALUE_BIAS, MGLU_DTYPE_F16, terms, test->d, random);
    if (test->out)
        desc->down = add_matrix(problem, ROLE_DOWN, test->out, test->d, random);
    if (test->out && test->bias != BIAS_NONE)
        desc->down_bias = add_source(problem, ROLE_OTHER, MGLU_DTYPE_F32, 1, test->out, random);
}

static void make_rows(struct grid_problem *problem, struct rows *rows, enum role role, mglu_dtype dtype,
                      int64_t columns, struct random *random)
{
    float *numbers = draw_matrix(problem->test, role, problem->test->batch, columns, random);

    rows_make(rows, problem->test->placement, problem->test->batch, columns, mglu_dtype_size(dtype));
    rows_write(rows, dtype, numbers);
    free(numbers);
}

/* x as it is stored, as floats, to be freed. */
static float *stored_x(const struct grid_problem *problem)
{
    const struct rows *x = &problem->x;
    float *numbers = malloc((size_t)(x->count * x->columns + 1) * sizeof *numbers);

    if (!numbers)
        exit(EXIT_FAILURE);
    for (int64_t row = 0; row < x->count; row++)
        if (mglu_convert(rows_at(x, row), problem->test->x, numbers + row * x->columns, MGLU_DTYPE_F32,
                         (size_t)x->columns) != MGLU_OK)
            exit(EXIT_FAILURE);
    return numbers;
}

static void make_router(struct grid_problem *problem, struct random *random)
{
    const struct grid_case *test = problem->test;
    const struct rows *source = &problem->sources[problem->source_count];
    float *x = stored_x(problem);

    problem->weights.router = add_source(problem, ROLE_ROUTER, MGLU_DTYPE_F32, test->n_masks, test->h, random);
    float *router = malloc((size_t)(test->n_masks * test->h + 1) * sizeof *router);
    if (!router)
        exit(EXIT_FAILURE);
    memcpy(router, rows_at(source, 0), (size_t)(test->n_masks * test->h) * sizeof *router);
    problem->routing_is_clear = router_is_clear(test, x, router);
    free(router);
    free(x);
}

static void make_routing(struct grid_problem *problem, struct random *random)
{
    const struct grid_case *test = problem->test;

    problem->routing_is_clear = true;
    if (test->routing >= ROUTING_ROUTER_ONE) {
        make_router(problem, random);
    } else if (test->routing != ROUTING_OFF) {
        rows_make(&problem->ids, test->placement, test->batch, grid_top_k(test), sizeof(int32_t));
        rows_make(&problem->p, test->placement, test->batch, grid_top_k(test), sizeof(float));
        draw_routing(test, &problem->ids, &problem->p, random);
    }
}

static const uint32_t layer_flags[BITS] = {
    [BITS_SAME] = MGLU_LAYER_REPRODUCIBLE,
    [BITS_QUANTISED_X] = MGLU_LAYER_ALLOW_QUANTISED_X,
};

void grid_problem_make(struct grid_problem *problem, const struct grid_case *test, const struct target *target,
                       const char *name, int attempt)
{
    char purpose[32];
    int64_t columns = grid_columns(test);

    snprintf(purpose, sizeof purpose, "numbers %d", attempt);
    struct random random = random_for(target, name, purpose);
    *problem = (struct grid_problem){.test = test};
    problem->layer = (mglu_layer_desc){.struct_size = sizeof problem->layer,
                                       .flags = layer_flags[test->bits],
                                       .activation = test->activation,
                                       .silu_beta = test->silu_beta,
                                       .x_dtype = test->x,
                                       .y_dtype = test->y,
                                       .top_k = grid_top_k(test),
                                       .max_batch = test->batch ? test->batch : 1};
    make_weights(problem, &random);
    make_rows(problem, &problem->x, ROLE_X, test->x, test->h, &random);
    if (test->residual != RESIDUAL_NONE)
        make_rows(problem, &problem->residual, ROLE_OTHER, test->y, columns, &random);
    make_routing(problem, &random);
    rows_make(&problem->y, test->placement, test->batch, columns, mglu_dtype_size(test->y));
    grid_problem_reset_y(problem);
}

void grid_problem_set_weight(struct grid_problem *problem, const float *numbers, struct random *random)
{
    const struct grid_case *test = problem->test;

    if (problem->weights.weight.scales)
        write_quantised(&problem->sources[0], &problem->sources[1], test->weight, numbers, test->h, random);
    else
        rows_write(&problem->sources[0], problem->weights.weight.dtype, numbers);
}

void grid_problem_free(struct grid_problem *problem)
{
    struct rows *const all[] = {&problem->x, &problem->y, &problem->residual, &problem->ids, &problem->p};

    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        rows_free(all[i]);
    while (problem->source_count)
        rows_free(&problem->sources[--problem->source_count]);
}

void grid_problem_reset_y(struct grid_problem *problem)
{
    if (problem->test->residual == RESIDUAL_IN_PLACE)
        memcpy(problem->y.region, problem->residual.region, problem->y.region_size);
    else
        rows_fill(&problem->y, ROWS_GAP);
}

void grid_problem_overwrite_sources(struct grid_problem *problem)
{
    for (int i = 0; i < problem->source_count; i++)
        rows_fill(&problem->sources[i], ROWS_GAP);
}

mglu_forward_args grid_problem_args(const struct grid_problem *problem, bool on_device)
{
    mglu_input (*const place)(const struct rows *) = on_device ? rows_on_device : rows_on_host;
    bool in_place = on_device && problem->test->residual == RESIDUAL_IN_PLACE;
    mglu_input y = place(&problem->y);

    return (mglu_forward_args){
        .struct_size = sizeof(mglu_forward_args),
        .batch = problem->test->batch,
        .x = place(&problem->x),
        .y = {(void *)y.data, y.byte_offset, y.row_stride},
        .residual = place(in_place ? &problem->y : &problem->residual),
        .routing_ids = place(&problem->ids),
        .routing_weights = place(&problem->p),
    };
}
