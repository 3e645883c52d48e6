/* SPDX-License-Identifier: MIT */
#include "problem/train_problem.h"

#include "problem/fills.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* The forward whose numbers a training step has: those of the grid, whose sums are of the order of 1, or small. */
static struct grid_case numbers_of(const struct train_case *test)
{
    return (struct grid_case){.weight = test->dtype,
                              .x = test->dtype,
                              .y = test->dtype,
                              .n_masks = test->n_masks,
                              .activation = test->activation,
                              .h = test->h,
                              .d = test->d,
                              .batch = test->batch,
                              .bias = test->bias,
                              .fill = test->integers ? FILL_EXACT : FILL_REAL};
}

/* Rows of one dtype that are filled with numbers, which are freed. */
static void make_rows(struct rows *rows, enum placement placement, mglu_dtype dtype, int64_t count, int64_t columns,
                      float *numbers)
{
    rows_make(rows, placement, count, columns, mglu_dtype_size(dtype));
    rows_write(rows, dtype, numbers);
    free(numbers);
}

static float *allocate_floats(size_t count)
{
    float *numbers = malloc((count + 1) * sizeof *numbers);

    if (!numbers)
        exit(EXIT_FAILURE);
    return numbers;
}

/* Gradients of y: mostly positive, so that sums of their products do not cancel; integers are 1 and -1. */
static float *draw_dy(const struct train_case *test, struct random *random)
{
    const size_t count = (size_t)(test->batch * test->d);
    float *numbers = allocate_floats(count);

    for (size_t i = 0; i < count; i++) {
        const float magnitude = test->integers ? 1 : 0.625f + 0.375f * random_unit(random);

        numbers[i] = random_u64(random) % 4 ? magnitude : -magnitude;
    }
    return numbers;
}

/* Multiples of a half, so that some tokens have the same logit twice, or other numbers. */
static float *draw_router_logits(const struct train_case *test, struct random *random)
{
    const size_t count = (size_t)(test->batch * test->n_masks);
    float *numbers = allocate_floats(count);

    for (size_t i = 0; i < count; i++) {
        const float logit = 2 * random_unit(random);

        numbers[i] = i / (size_t)test->n_masks % 2 ? logit : roundf(2 * logit) / 2;
    }
    return numbers;
}

/* A logit of the side that a bit means: of any magnitude, infinite, and the zeros of both signs. */
static float logit_of(unsigned char bit, struct random *random)
{
    static const float magnitudes[] = {0x1p-14f, 0.01f, 0.5f, 3, INFINITY, 0};
    const float magnitude = magnitudes[random_u64(random) % (bit ? 5 : 6)];

    return bit ? magnitude : -magnitude;
}

/* One row of `bytes` bytes that ends at an unreadable page. */
static void *make_block(struct rows *rows, size_t bytes)
{
    rows_make(rows, PLACE_ENDS_AT_GUARD, 1, (int64_t)bytes, 1);
    return rows_at(rows, 0);
}

static void write_logits(struct rows *masks, mglu_dtype dtype, const unsigned char *bytes, size_t count,
                         struct random *random)
{
    float *logits = allocate_floats(count);

    for (size_t i = 0; i < count; i++)
        logits[i] = logit_of(bytes[i], random);
    if (mglu_convert(logits, MGLU_DTYPE_F32, make_block(masks, count * mglu_dtype_size(dtype)), dtype, count) !=
        MGLU_OK)
        exit(EXIT_FAILURE);
    free(logits);
}

/* Packs rows of h bytes into bits, least significant first. */
static void write_bits(struct rows *masks, const unsigned char *bytes, size_t rows, size_t h)
{
    const size_t row = (h + 7) / 8;
    unsigned char *bits = make_block(masks, rows * row);

    memset(bits, 0, rows * row);
    for (size_t i = 0; i < rows * h; i++)
        bits[i / h * row + i % h / 8] |= (unsigned char)(bytes[i] << (i % h % 8));
}

/* Writes masks, given as bytes, in the form of the case. */
static void write_masks(struct train_problem *problem, const unsigned char *bytes, struct random *random)
{
    const struct train_case *test = problem->test;
    const size_t rows = (size_t)(test->n_masks * test->d), count = rows * (size_t)test->h;
    const mglu_mask_array source = {bytes, MGLU_MASK_BYTES};

    switch (test->form) {
    case MGLU_MASK_WORDS:
        if (mglu_pack_masks(&source, test->n_masks, test->d, test->h,
                            make_block(&problem->masks, mglu_packed_mask_size(test->n_masks, test->d, test->h))) !=
            MGLU_OK)
            exit(EXIT_FAILURE);
        break;
    case MGLU_MASK_BYTES:
        memcpy(make_block(&problem->masks, count), bytes, count);
        break;
    case MGLU_MASK_LOGITS_F32:
        write_logits(&problem->masks, MGLU_DTYPE_F32, bytes, count, random);
        break;
    case MGLU_MASK_LOGITS_F16:
        write_logits(&problem->masks, MGLU_DTYPE_F16, bytes, count, random);
        break;
    case MGLU_MASK_LOGITS_BF16:
        write_logits(&problem->masks, MGLU_DTYPE_BF16, bytes, count, random);
        break;
    case MGLU_MASK_BITS:
        write_bits(&problem->masks, bytes, rows, (size_t)test->h);
        break;
    }
}

static void make_masks(struct train_problem *problem, const struct grid_case *numbers, struct random *random)
{
    struct rows bytes;

    rows_make(&bytes, PLACE_STARTS_AT_GUARD, problem->test->n_masks * problem->test->d, problem->test->h, 1);
    draw_masks(numbers, &bytes, random);
    write_masks(problem, rows_at(&bytes, 0), random);
    rows_free(&bytes);
}

static void make_inputs(struct train_problem *problem, struct random *random)
{
    const struct train_case *test = problem->test;
    const struct grid_case numbers = numbers_of(test);
    const enum placement placement = test->placement;

    make_rows(&problem->x, placement, test->dtype, test->batch, test->h,
              draw_matrix(&numbers, ROLE_X, test->batch, test->h, random));
    make_rows(&problem->weight, placement, test->weight, test->d, test->h,
              draw_matrix(&numbers, ROLE_WEIGHT, test->d, test->h, random));
    make_masks(problem, &numbers, random);
    if (train_has(test, TRAIN_DGATE_BIAS))
        make_rows(&problem->gate_bias, PLACE_ENDS_AT_GUARD, MGLU_DTYPE_F32, test->n_masks, test->d,
                  draw_matrix(&numbers, ROLE_GATE_BIAS, test->n_masks, test->d, random));
    if (train_has(test, TRAIN_DVALUE_BIAS))
        make_rows(&problem->value_bias, PLACE_ENDS_AT_GUARD, MGLU_DTYPE_F32, test->n_masks, test->d,
                  draw_matrix(&numbers, ROLE_VALUE_BIAS, test->n_masks, test->d, random));
    if (test->top_k)
        make_rows(&problem->router_logits, placement, MGLU_DTYPE_F32, test->batch, test->n_masks,
                  draw_router_logits(test, random));
    make_rows(&problem->dy, placement, test->dtype, test->batch, test->d, draw_dy(test, random));
}

/* y, dx and drouter_logits have strides; arrays of parameters have none. */
static enum placement placement_of(const struct train_case *test, enum train_result result)
{
    static const enum placement dense[] = {[PLACE_TIGHT] = PLACE_TIGHT,
                                           [PLACE_PADDED] = PLACE_TIGHT,
                                           [PLACE_OFFSET] = PLACE_OFFSET,
                                           [PLACE_OFFSET_PADDED] = PLACE_OFFSET,
                                           [PLACE_ENDS_AT_GUARD] = PLACE_ENDS_AT_GUARD,
                                           [PLACE_STARTS_AT_GUARD] = PLACE_STARTS_AT_GUARD};

    return train_accumulates(result) ? dense[test->placement] : test->placement;
}

static void make_result(struct train_problem *problem, enum train_result result, struct random *random)
{
    const struct train_case *test = problem->test;
    const int64_t rows = train_rows(test, result), columns = train_columns(test, result);
    float *before;

    rows_make(&problem->results[result], placement_of(test, result), rows, columns,
              mglu_dtype_size(train_dtype(test, result)));
    if (!test->accumulate || !train_accumulates(result))
        return;
    before = allocate_floats((size_t)(rows * columns));
    for (int64_t i = 0; i < rows * columns; i++)
        before[i] = test->integers ? (float)(random_u64(random) % 17) - 8 : random_unit(random);
    problem->before[result] = before;
}

void train_problem_make(struct train_problem *problem, const struct train_case *test, struct random random)
{
    *problem = (struct train_problem){.test = test, .desc = train_desc(test)};
    make_inputs(problem, &random);
    for (int i = 0; i < TRAIN_RESULTS; i++)
        if (train_wants(test, (enum train_result)i))
            make_result(problem, (enum train_result)i, &random);
    train_problem_reset(problem);
}

void train_problem_free(struct train_problem *problem)
{
    struct rows *const inputs[] = {&problem->x,          &problem->weight,        &problem->masks, &problem->gate_bias,
                                   &problem->value_bias, &problem->router_logits, &problem->dy};

    for (size_t i = 0; i < sizeof inputs / sizeof inputs[0]; i++)
        rows_free(inputs[i]);
    for (int i = 0; i < TRAIN_RESULTS; i++) {
        rows_free(&problem->results[i]);
        free(problem->before[i]);
    }
}

void train_problem_reset(struct train_problem *problem)
{
    for (int i = 0; i < TRAIN_RESULTS; i++) {
        struct rows *rows = &problem->results[i];

        if (problem->before[i])
            rows_write(rows, MGLU_DTYPE_F32, problem->before[i]);
        else if (rows->region)
            rows_fill(rows, ROWS_GAP);
    }
}

mglu_train_inputs train_problem_inputs(const struct train_problem *problem)
{
    const struct rows *weight = &problem->weight;

    return (mglu_train_inputs){
        .x = rows_on_host(&problem->x),
        .weight = {.data = rows_at(weight, 0),
                   .dtype = problem->test->weight,
                   .stride_bytes = (size_t)weight->stride * weight->element},
        .masks = {rows_at(&problem->masks, 0), problem->test->form},
        .gate_bias = problem->gate_bias.region ? (const float *)(const void *)rows_at(&problem->gate_bias, 0) : NULL,
        .value_bias = problem->value_bias.region ? (const float *)(const void *)rows_at(&problem->value_bias, 0) : NULL,
        .router_logits = rows_on_host(&problem->router_logits),
    };
}

mglu_output train_problem_output(const struct train_problem *problem, enum train_result result)
{
    const struct rows *rows = &problem->results[result];

    return (mglu_output){rows->region, rows->offset, rows->stride};
}

float *train_problem_array(const struct train_problem *problem, enum train_result result)
{
    const struct rows *rows = &problem->results[result];

    return rows->region ? (float *)(void *)rows_at(rows, 0) : NULL;
}
