/* SPDX-License-Identifier: MIT */
#include "tests/unit/cpu/isas.h"

#include "common/core/mask_format.h"
#include "common/core/quantise.h"

#include <mglu/pack.h>

#include <math.h>

/* GEMV with quantised x: all sums of integers are exact here, so there is one right result. */

enum { ROWS = 6, MOST_GROUPS = 140 };

static const int64_t sizes[] = {0, 1, 7, 31, 32, 33, 63, 64, 65, 127, 128, 129, 1000, 1024, 1025, 2080, 4099};
static const mglu_dtype dtypes[] = {MGLU_DTYPE_Q8_0, MGLU_DTYPE_Q4_0};

static const struct mglu_cpu_int8 *int8_of(void **state)
{
    const struct mglu_cpu_isa *isa = ISA_WITH_OWN(state, int8);

    if (!isa->int8)
        skip();
    return isa->int8;
}

struct problem {
    mglu_dtype dtype;
    int64_t h, groups;
    int32_t n_masks;
    struct mglu_cpu_matrix matrix;
    char *weights, *scales;
    uint32_t *masks;
    int8_t *x[MGLU_CPU_INT8_MOST_TOKENS];
    void *quantised_x[MGLU_CPU_INT8_MOST_TOKENS];
};

/* Memory of exactly this size, so that a sanitizer detects every access beyond it. */
static void *make(size_t bytes)
{
    void *memory = NULL;

    assert_int_equal(posix_memalign(&memory, 64, bytes ? bytes : 1), 0);
    memset(memory, 0, bytes);
    return memory;
}

/* Integers whose groups all have the scale 1, since each has 127 or -127. */
static void make_x(struct problem *p, const struct mglu_cpu_int8 *int8, int token, uint64_t *seed)
{
    float *x = make((size_t)p->groups * MGLU_GROUP_COLUMNS * sizeof *x);

    p->x[token] = make((size_t)p->groups * MGLU_GROUP_COLUMNS);
    for (int64_t column = 0; column < p->h; column++) {
        const int number = (int)(next_random(seed) % 255) - 127;
        p->x[token][column] = (int8_t)(column % MGLU_GROUP_COLUMNS ? number : number < 0 ? -127 : 127);
        x[column] = (float)p->x[token][column];
    }
    p->quantised_x[token] = make(mglu_cpu_quantised_bytes(p->groups));
    int8->quantise_x(x, p->groups, p->quantised_x[token]);
    assert_true(mglu_cpu_is_quantised(p->quantised_x[token]));
    free(x);
}

/* `byte` fills all weights, NULL: any bits. Padding has random bits too; the scales are 1, 2, 3 and 4. */
static void make_problem(struct problem *p, const struct mglu_cpu_int8 *int8, const char *byte, uint64_t seed)
{
    const size_t stride = mglu_packed_weight_stride_bytes(p->dtype, p->h);
    const size_t scale_stride = mglu_packed_scale_stride_bytes(p->dtype, p->h);
    const struct mglu_cpu_streams streams = {.plain_rows = 1 + (int32_t)(seed % 2), .plain_prefetch = 512};

    p->groups = (int64_t)mglu_format_groups((mglu_index)p->h);
    p->weights = make(stride * ROWS);
    p->scales = make(scale_stride * ROWS);
    p->masks = make((size_t)(ROWS * p->groups * p->n_masks) * sizeof *p->masks);
    for (size_t i = 0; i < stride * ROWS; i++)
        p->weights[i] = byte ? *byte : (char)next_random(&seed);
    for (size_t i = 0; i < scale_stride * ROWS / sizeof(uint16_t); i++)
        mglu_store_element(p->scales, MGLU_DTYPE_F16, i, (float)(1 + next_random(&seed) % 4));
    for (int64_t i = 0; i < ROWS * p->groups * p->n_masks; i++)
        p->masks[i] = next_random(&seed);
    for (int token = 0; token < MGLU_CPU_INT8_MOST_TOKENS; token++)
        make_x(p, int8, token, &seed);
    p->matrix = (struct mglu_cpu_matrix){.rows = p->weights,
                                         .stride_bytes = stride,
                                         .groups = p->groups,
                                         .masks = p->masks,
                                         .n_masks = p->n_masks,
                                         .scales = p->scales,
                                         .scale_stride = scale_stride,
                                         .streams = streams};
}

static void free_problem(struct problem *p)
{
    for (int token = 0; token < MGLU_CPU_INT8_MOST_TOKENS; token++) {
        free(p->x[token]);
        free(p->quantised_x[token]);
    }
    free(p->weights);
    free(p->scales);
    free(p->masks);
}

/* The sum of a row over the columns where the mask has a 1; over all columns for a mask below 0. */
static double sum_of(const struct problem *p, int64_t row, int32_t mask, int token)
{
    const char *weights = p->weights + p->matrix.stride_bytes * (size_t)row;
    const char *scales = p->scales + p->matrix.scale_stride * (size_t)row;
    double sum = 0;

    for (int64_t column = 0; column < p->h; column++) {
        uint32_t word = mask < 0 ? ~0u : p->masks[(row * p->groups + column / 32) * p->n_masks + mask];
        if (mglu_format_mask_bit(word, (mglu_index)column))
            sum += (double)mglu_load_weight(weights, scales, p->dtype, (size_t)column) * p->x[token][column];
    }
    return sum;
}

static void expect_sum(const struct problem *p, int64_t row, int32_t mask, int token, float got)
{
    const double want = sum_of(p, row, mask, token);

    if ((double)got != want)
        fail_msg("%s h=%d n_masks=%d row=%d mask=%d token=%d: got %.9g, want %.9g", mglu_dtype_name(p->dtype),
                 (int)p->h, (int)p->n_masks, (int)row, (int)mask, token, (double)got, want);
}

/* Rows 1.. of the problem for some tokens; `ids` NULL: all masks. */
static void check_problem(const struct mglu_cpu_int8 *int8, const struct problem *p, const int32_t *ids, int32_t tokens)
{
    float totals[MGLU_CPU_INT8_MOST_TOKENS][MGLU_CPU_BLOCK_ROWS];
    float gates[MGLU_CPU_INT8_MOST_TOKENS][MGLU_MAX_MASKS][MGLU_CPU_BLOCK_ROWS];
    struct mglu_cpu_gemv jobs[MGLU_CPU_INT8_MOST_TOKENS];

    for (int32_t t = 0; t < tokens; t++)
        jobs[t] = (struct mglu_cpu_gemv){.matrix = &p->matrix,
                                         .first_row = 1,
                                         .rows = ROWS - 1,
                                         .n = p->n_masks,
                                         .mask_ids = ids,
                                         .x = p->quantised_x[t],
                                         .totals = totals[t],
                                         .gates = gates[t],
                                         .tokens = tokens};
    int8->gemv[p->dtype](jobs);
    for (int32_t t = 0; t < tokens; t++)
        for (int32_t r = 0; r < ROWS - 1; r++) {
            expect_sum(p, r + 1, -1, t, totals[t][r]);
            for (int32_t i = 0; i < p->n_masks; i++)
                expect_sum(p, r + 1, ids ? ids[i] : i, t, gates[t][i][r]);
        }
}

static void sums_of_integers_are_exact_for_one_token_and_for_several(void **state)
{
    const struct mglu_cpu_int8 *int8 = int8_of(state);

    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++)
        for (size_t t = 0; t < sizeof dtypes / sizeof dtypes[0]; t++)
            for (int32_t n_masks = 0; n_masks <= MGLU_MAX_MASKS; n_masks++) {
                struct problem p = {.dtype = dtypes[t], .h = sizes[s], .n_masks = n_masks};
                make_problem(&p, int8, NULL, s * 100 + (uint64_t)n_masks);
                check_problem(int8, &p, NULL, 1);
                check_problem(int8, &p, NULL, mglu_cpu_int8_tokens_per_call(n_masks));
                free_problem(&p);
            }
}

static void mask_ids_may_come_in_any_order_and_twice(void **state)
{
    const struct mglu_cpu_int8 *int8 = int8_of(state);
    uint64_t seed = 5;

    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++)
        for (int32_t n_masks = 1; n_masks <= MGLU_MAX_MASKS; n_masks++) {
            struct problem p = {.dtype = dtypes[s % 2], .h = sizes[s], .n_masks = n_masks};
            int32_t ids[MGLU_MAX_MASKS];
            make_problem(&p, int8, NULL, s);
            for (int32_t i = 0; i < n_masks; i++)
                ids[i] = (int32_t)(next_random(&seed) % (uint32_t)n_masks);
            check_problem(int8, &p, ids, 1);
            free_problem(&p);
        }
}

/* The bytes whose pairs of products come closest to overflowing 16 bits; the quants of q4_0 are between -8 and 7. */
static void the_largest_products_are_exact(void **state)
{
    static const char bytes[] = {-128, 127, -127, 0, -1, 0x0f, -16};
    const struct mglu_cpu_int8 *int8 = int8_of(state);

    for (size_t i = 0; i < 2 * sizeof bytes; i++)
        for (size_t t = 0; t < sizeof dtypes / sizeof dtypes[0]; t++) {
            struct problem p = {.dtype = dtypes[t], .h = 128, .n_masks = i % 2 ? 2 : 0};
            make_problem(&p, int8, &bytes[i / 2], i);
            for (int token = 0; token < MGLU_CPU_INT8_MOST_TOKENS; token++) {
                float x[128];
                for (int column = 0; column < 128; column++) {
                    p.x[token][column] = token % 2 ? -127 : 127;
                    x[column] = p.x[token][column];
                }
                int8->quantise_x(x, p.groups, p.quantised_x[token]);
            }
            check_problem(int8, &p, NULL, mglu_cpu_int8_tokens_per_call(p.n_masks));
            free_problem(&p);
        }
}

static double largest_of(const float *group)
{
    float largest = 0;

    for (int i = 0; i < MGLU_GROUP_COLUMNS; i++)
        largest = fabsf(group[i]) > largest ? fabsf(group[i]) : largest;
    return (double)largest;
}

static void x_is_quantised_to_the_nearest_of_255_steps(void **state)
{
    const struct mglu_cpu_int8 *int8 = int8_of(state);
    uint64_t seed = 3;

    for (int64_t groups = 0; groups <= MOST_GROUPS; groups += groups < 40 ? 1 : 25) {
        float *x = make((size_t)groups * MGLU_GROUP_COLUMNS * sizeof *x);
        void *quantised_x = make(mglu_cpu_quantised_bytes(groups));
        for (int64_t column = 0; column < groups * MGLU_GROUP_COLUMNS; column++)
            x[column] = ldexpf(random_real(&seed), (int)(column / MGLU_GROUP_COLUMNS * 7 % 150) - 70);
        int8->quantise_x(x, groups, quantised_x);
        for (int64_t column = 0; column < groups * MGLU_GROUP_COLUMNS; column++) {
            const int64_t first = column / MGLU_GROUP_COLUMNS * MGLU_GROUP_COLUMNS;
            const double scale = (double)((const float *)quantised_x)[column / MGLU_GROUP_COLUMNS];
            const int quant = (int8_t)mglu_cpu_quants(quantised_x, groups)[column];
            assert_true(fabs(scale * quant - (double)x[column]) <= largest_of(x + first) / 254 * (1 + 0x1p-14));
        }
        free(x);
        free(quantised_x);
    }
}

static void zeros_stay_zeros_and_ties_go_to_the_even_step(void **state)
{
    const struct mglu_cpu_int8 *int8 = int8_of(state);
    float x[2 * MGLU_GROUP_COLUMNS] = {127, 0.5f, 1.5f, -0.5f, -1.5f, 2.5f, -0.0f};
    static const int8_t want[] = {127, 0, 2, 0, -2, 2, 0};
    void *quantised_x = make(mglu_cpu_quantised_bytes(2));

    int8->quantise_x(x, 2, quantised_x);
    assert_true(((const float *)quantised_x)[0] == 1.0f && ((const float *)quantised_x)[1] == 0.0f);
    assert_memory_equal(mglu_cpu_quants(quantised_x, 2), want, sizeof want);
    for (size_t i = sizeof want; i < sizeof x / sizeof x[0]; i++)
        assert_int_equal(mglu_cpu_quants(quantised_x, 2)[i], 0);
    free(quantised_x);
}

static void x_that_is_not_finite_or_out_of_range_is_not_quantised(void **state)
{
    static const struct {
        float value;
        int is_quantised;
    } cases[] = {{NAN, 0},    {-NAN, 0},    {INFINITY, 0}, {-INFINITY, 0}, {0x1p97f, 0},  {-0x1p127f, 0}, {0x1p-81f, 0},
                 {1e-44f, 0}, {0x1p96f, 1}, {0x1p-80f, 1}, {-0x1p-80f, 1}, {-0x1p96f, 1}, {0.0f, 1},      {-0.0f, 1}};
    const struct mglu_cpu_int8 *int8 = int8_of(state);
    void *quantised_x = make(mglu_cpu_quantised_bytes(3));

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        for (int group = 0; group < 3; group++) {
            float x[3 * MGLU_GROUP_COLUMNS] = {0};
            x[group * MGLU_GROUP_COLUMNS + 17] = cases[i].value;
            int8->quantise_x(x, 3, quantised_x);
            assert_int_equal(mglu_cpu_is_quantised(quantised_x), cases[i].is_quantised);
        }
    free(quantised_x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sums_of_integers_are_exact_for_one_token_and_for_several),
        cmocka_unit_test(mask_ids_may_come_in_any_order_and_twice),
        cmocka_unit_test(the_largest_products_are_exact),
        cmocka_unit_test(x_is_quantised_to_the_nearest_of_255_steps),
        cmocka_unit_test(zeros_stay_zeros_and_ties_go_to_the_even_step),
        cmocka_unit_test(x_that_is_not_finite_or_out_of_range_is_not_quantised),
    };

    return run_on_isas(tests, sizeof tests / sizeof tests[0]);
}
