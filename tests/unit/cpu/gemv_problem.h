/* SPDX-License-Identifier: MIT */
#ifndef MGLU_TEST_GEMV_PROBLEM_H
#define MGLU_TEST_GEMV_PROBLEM_H

/* Problems for GEMV kernels, and models of the orders in which these add. */

#include "tests/unit/cpu/isas.h"

#include "common/core/mask_format.h"
#include "common/core/quantise.h"

#include <mglu/pack.h>

/* Rows 1.. are summed: five, so that one is left over from two and from four side by side. */
enum { ROWS = 6 };

enum { LONGEST = TEST_IS_SLOW ? 513 : 2051 };

static const int64_t sizes[] = {0,  1,  2,  7,   8,   9,   15,  16,  17,  31,   32,     33,
                                63, 64, 65, 127, 128, 129, 130, 255, 257, 1000, LONGEST};

/* How weights and x are filled. */
enum fill {
    FILL_REAL,
    FILL_PATTERNS, /* any bits: subnormals, infinities, NaNs */
    FILL_INTEGERS, /* whose sums are exact in any order */
    FILL_COUNT
};

struct problem {
    int64_t h;
    int32_t n_masks;
    mglu_dtype dtype;
    struct mglu_cpu_matrix matrix;
    char *weights;
    char *scales;
    uint32_t *masks;
    float *x;
    int32_t ids[MGLU_MAX_MASKS];
    int32_t n;
};

static inline float fill_value(enum fill fill, uint64_t *seed)
{
    switch (fill) {
    case FILL_PATTERNS:
        return mglu_f32_from_bits(next_random(seed));
    case FILL_INTEGERS:
        return (float)(int32_t)(next_random(seed) >> 30) - 1.0f;
    default:
        return random_real(seed);
    }
}

/* Memory of exactly this size, so that a sanitizer detects every access beyond it. */
static inline void *make(size_t bytes, size_t alignment)
{
    void *memory = NULL;

    assert_int_equal(posix_memalign(&memory, alignment, bytes ? bytes : 1), 0);
    memset(memory, 0, bytes);
    return memory;
}

/* Quants of any bits, in padding columns too, where x is 0. */
static inline void fill_quants(struct problem *p, enum fill fill, uint64_t *seed)
{
    for (size_t i = 0; i < p->matrix.stride_bytes * ROWS; i++)
        p->weights[i] = (char)next_random(seed);
    for (size_t i = 0; i < p->matrix.scale_stride * ROWS / sizeof(uint16_t); i++)
        mglu_store_element(p->scales, MGLU_DTYPE_F16, i, fill_value(fill, seed));
}

static inline void fill_weights(struct problem *p, enum fill fill, uint64_t *seed)
{
    for (int64_t column = 0; column < p->h; column++)
        for (size_t row = 0; row < ROWS; row++)
            mglu_store_element(p->weights + p->matrix.stride_bytes * row, p->dtype, (size_t)column,
                               fill_value(fill, seed));
}

/* Every way of reading rows, in turn: results must not depend on it. */
static inline struct mglu_cpu_streams streams_of(uint64_t seed)
{
    static const struct mglu_cpu_streams streams[] = {
        {.plain_rows = 1, .plain_prefetch = 0, .masked_rows = 2, .masked_prefetch = 8192},
        {.plain_rows = 2, .plain_prefetch = 2048, .masked_rows = 2, .masked_prefetch = 512},
        {.plain_rows = 4, .plain_prefetch = 512, .masked_rows = 2, .masked_prefetch = 0},
    };

    return streams[seed % (sizeof streams / sizeof streams[0])];
}

static inline void make_problem(struct problem *p, enum fill fill, uint64_t seed)
{
    const size_t stride = mglu_packed_weight_stride_bytes(p->dtype, p->h);
    const size_t scale_stride = mglu_packed_scale_stride_bytes(p->dtype, p->h);
    const int64_t groups = (int64_t)mglu_format_groups((mglu_index)p->h);
    const struct mglu_cpu_streams streams = streams_of(seed);

    p->weights = make(stride * ROWS, 64);
    p->scales = make(scale_stride * ROWS, 64);
    p->masks = make((size_t)(ROWS * groups * p->n_masks) * 4, sizeof(void *));
    p->x = make((size_t)groups * 128, 64);
    for (int64_t column = 0; column < p->h; column++)
        p->x[column] = fill_value(fill, &seed);
    for (int64_t i = 0; i < ROWS * groups * p->n_masks; i++)
        p->masks[i] = next_random(&seed); /* padding bits too: they must not matter */
    p->matrix = (struct mglu_cpu_matrix){.rows = p->weights,
                                         .stride_bytes = stride,
                                         .groups = groups,
                                         .masks = p->masks,
                                         .n_masks = p->n_masks,
                                         .scales = p->scales,
                                         .scale_stride = scale_stride,
                                         .streams = streams};
    if (mglu_dtype_is_quantised(p->dtype))
        fill_quants(p, fill, &seed);
    else
        fill_weights(p, fill, &seed);
}

static inline void free_problem(struct problem *p)
{
    free(p->weights);
    free(p->scales);
    free(p->masks);
    free(p->x);
}

/* The sum of a row in some order. `mask` < 0 is the total. */
typedef float model_fn(const struct problem *p, int64_t row, int32_t mask);

/* The product of a column where the mask has a 1, else +0. */
static inline float selected_product(const struct problem *p, int64_t row, int32_t mask, int64_t column)
{
    const char *weights = p->weights + p->matrix.stride_bytes * (size_t)row;
    const char *scales = p->scales + p->matrix.scale_stride * (size_t)row;
    uint32_t word = mask < 0 ? ~0u : p->masks[(row * p->matrix.groups + column / 32) * p->n_masks + mask];

    if (!mglu_format_mask_bit(word, (mglu_index)column))
        return 0.0f;
    return mglu_load_weight(weights, scales, p->dtype, (size_t)column) * p->x[column];
}

/* Adds lane j and lane j + width and halves the width, until one lane is left. */
static inline float fold(float *lanes, int width)
{
    for (; width >= 1; width /= 2)
        for (int lane = 0; lane < width; lane++)
            lanes[lane] += lanes[lane + width];
    return lanes[0];
}

/* Sums each lane over the groups, then folds the lanes. */
static inline float model_lanes(const struct problem *p, int64_t row, int32_t mask)
{
    float lanes[MGLU_GROUP_COLUMNS] = {0};

    for (int64_t column = 0; column < p->matrix.groups * MGLU_GROUP_COLUMNS; column++)
        lanes[column % 32] += selected_product(p, row, mask, column);
    return fold(lanes, 16);
}

/* Adds the four parts of 8 columns of a group in pairs, lane by lane. */
static inline float model_pairs(const struct problem *p, int64_t row, int32_t mask)
{
    float lanes[8] = {0};

    for (int64_t group = 0; group < p->matrix.groups; group++)
        for (int lane = 0; lane < 8; lane++) {
            float part[4];
            for (int i = 0; i < 4; i++)
                part[i] = selected_product(p, row, mask, group * 32 + i * 8 + lane);
            lanes[lane] += (part[0] + part[1]) + (part[2] + part[3]);
        }
    return fold(lanes, 4);
}

/* The same, except that each part is first reduced to sums of four neighbouring columns, added in pairs; the total is
 * summed as in model_pairs(). */
static inline float model_pairs_of_columns(const struct problem *p, int64_t row, int32_t mask)
{
    float halves[2] = {0};

    if (mask < 0)
        return model_pairs(p, row, mask);
    for (int64_t group = 0; group < p->matrix.groups; group++)
        for (int half = 0; half < 2; half++) {
            float part[4];
            for (int i = 0; i < 4; i++) {
                float products[4];
                for (int k = 0; k < 4; k++)
                    products[k] = selected_product(p, row, mask, group * 32 + i * 8 + half * 4 + k);
                part[i] = (products[0] + products[1]) + (products[2] + products[3]);
            }
            halves[half] += (part[0] + part[1]) + (part[2] + part[3]);
        }
    return fold(halves, 1);
}

/* The first of four columns plus the second, the third and the fourth, where the mask has a 1. */
static inline float sum_of_four(const struct problem *p, int64_t row, int32_t mask, int64_t first)
{
    float sum = selected_product(p, row, mask, first);

    for (int64_t column = first + 1; column < first + 4; column++)
        sum += selected_product(p, row, mask, column);
    return sum;
}

/* In blocks of 16 groups, four chains of sums of four columns. */
static inline float model_lookup(const struct problem *p, int64_t row, int32_t mask)
{
    const int64_t columns = p->matrix.groups * MGLU_GROUP_COLUMNS, block = 16 * MGLU_GROUP_COLUMNS;
    float sum = 0.0f;

    if (mask < 0)
        return model_lanes(p, row, mask);
    for (int64_t first = 0; first < columns; first += block) {
        float chains[4] = {0};
        for (int64_t column = first; column < columns && column < first + block; column += 4)
            chains[column / 4 % 4] += sum_of_four(p, row, mask, column);
        sum += (chains[0] + chains[1]) + (chains[2] + chains[3]);
    }
    return sum;
}

static inline void expect_same(const struct problem *p, model_fn *model, int64_t row, int32_t mask, float got)
{
    float want = model(p, row, mask);

    if (!same_bits(got, want))
        fail_msg("%s h=%d n_masks=%d row=%d mask=%d: got %a, want %a", mglu_dtype_name(p->dtype), (int)p->h,
                 (int)p->n_masks, (int)row, (int)mask, (double)got, (double)want);
}

#endif
