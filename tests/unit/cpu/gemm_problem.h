/* SPDX-License-Identifier: MIT */
#ifndef MGLU_TEST_CPU_GEMM_PROBLEM_H
#define MGLU_TEST_CPU_GEMM_PROBLEM_H

#include "tests/unit/cpu/isas.h"

#include "common/core/mask_format.h"
#include "common/core/quantise.h"

#include <mglu/pack.h>

/* Rows of weights with masks, and tokens, for GEMM. */

enum fill {
    FILL_REAL,
    FILL_INTEGERS, /* whose sums are exact in any order */
    FILL_RISING,   /* of one sign, with rising magnitudes */
    FILL_FALLING,  /* of one sign; one large product, then many whose rounding errors have the same sign */
    FILL_COUNT
};

struct problem {
    int64_t h;
    int32_t rows, n_masks, tokens;
    mglu_dtype dtype;
    enum fill fill;
    int32_t parts_of_x; /* of bf16, that x has bits for; 0: one */
    struct mglu_cpu_matrix matrix;
    char *weights;
    char *scales;
    double *values; /* of the weights, [rows][h] */
    uint32_t *masks;
    float *x; /* [tokens][x_columns] */
    uint16_t *x_bf16;
    size_t x_columns;
};

static inline void *make(size_t bytes)
{
    void *memory = NULL;

    assert_int_equal(posix_memalign(&memory, 64, bytes ? bytes : 1), 0);
    memset(memory, 0, bytes);
    return memory;
}

static inline float fill_weight(const struct problem *p, int64_t column, uint64_t *seed)
{
    switch (p->fill) {
    case FILL_INTEGERS:
        return (float)(int32_t)(next_random(seed) >> 30) - 1.0f;
    case FILL_RISING:
        return 0x1p-4f * (float)(column % 128 + 1);
    case FILL_FALLING:
        return column ? 0x1.8p-12f : 0x1p+0f;
    default:
        return random_real(seed);
    }
}

static inline float round_x(const struct problem *p, float x)
{
    if (p->parts_of_x == 3)
        return x;
    return p->parts_of_x == 2 ? mglu_f16_to_f32(mglu_f32_to_f16(x)) : mglu_bf16_to_f32(mglu_f32_to_bf16(x));
}

static inline float fill_x(const struct problem *p, int64_t column, uint64_t *seed)
{
    switch (p->fill) {
    case FILL_INTEGERS:
        return (float)(int32_t)(next_random(seed) >> 30) - 1.0f;
    case FILL_RISING:
        return 1.0f + 0x1p-7f * (float)(next_random(seed) % 128);
    case FILL_FALLING:
        return column ? 0x1p-13f : 0x1p+0f;
    default:
        return round_x(p, random_real(seed));
    }
}

static inline void fill_rows(struct problem *p, uint64_t *seed)
{
    for (int64_t column = 0; column < p->h; column++)
        for (int32_t row = 0; row < p->rows; row++)
            mglu_store_element(p->weights + p->matrix.stride_bytes * (size_t)row, p->dtype, (size_t)column,
                               fill_weight(p, column, seed));
}

/* Quants of any bits: x is 0 in padding columns. */
static inline void fill_quantised_rows(struct problem *p, uint64_t *seed)
{
    for (size_t i = 0; i < p->matrix.stride_bytes * (size_t)p->rows; i++)
        p->weights[i] = (char)next_random(seed);
    for (size_t i = 0; i < p->matrix.scale_stride * (size_t)p->rows / sizeof(uint16_t); i++)
        mglu_store_element(p->scales, MGLU_DTYPE_F16, i, p->fill == FILL_INTEGERS ? 1.0f : random_real(seed));
}

/* The weights in double, converted once: that is slow in emulators and with sanitizers. */
static inline double *values_of(const struct problem *p)
{
    double *values = make((size_t)(p->rows * p->h) * sizeof *values);

    for (int64_t row = 0; row < p->rows; row++)
        for (int64_t column = 0; column < p->h; column++)
            values[row * p->h + column] =
                (double)mglu_load_weight(p->weights + p->matrix.stride_bytes * (size_t)row,
                                         p->scales + p->matrix.scale_stride * (size_t)row, p->dtype, (size_t)column);
    return values;
}

static inline struct problem make_problem(struct problem p, uint64_t seed)
{
    const size_t stride = mglu_packed_weight_stride_bytes(p.dtype, p.h);
    const size_t scale_stride = mglu_packed_scale_stride_bytes(p.dtype, p.h);
    const int64_t groups = (int64_t)mglu_format_groups((mglu_index)p.h);
    const size_t words = (size_t)(p.rows * groups * p.n_masks);

    p.x_columns = (size_t)groups * MGLU_GROUP_COLUMNS + 32; /* the stride of tokens may be any */
    p.weights = make(stride * (size_t)p.rows);
    p.scales = make(scale_stride * (size_t)p.rows);
    p.masks = make(words * sizeof *p.masks);
    p.x = make((size_t)p.tokens * p.x_columns * sizeof *p.x);
    p.x_bf16 = make((size_t)p.tokens * p.x_columns * sizeof *p.x_bf16);
    for (int64_t column = 0; column < p.h; column++) {
        for (int32_t token = 0; token < p.tokens; token++) {
            size_t at = (size_t)token * p.x_columns + (size_t)column;
            p.x[at] = fill_x(&p, column, &seed);
            p.x_bf16[at] = mglu_f32_to_bf16(p.x[at]);
        }
    }
    for (size_t i = 0; i < words; i++)
        p.masks[i] = next_random(&seed);
    p.matrix = (struct mglu_cpu_matrix){.rows = p.weights,
                                        .stride_bytes = stride,
                                        .groups = groups,
                                        .masks = p.masks,
                                        .n_masks = p.n_masks,
                                        .scales = p.scales,
                                        .scale_stride = scale_stride};
    if (mglu_dtype_is_quantised(p.dtype))
        fill_quantised_rows(&p, &seed);
    else
        fill_rows(&p, &seed);
    p.values = values_of(&p);
    return p;
}

static inline void free_problem(struct problem *p)
{
    free(p->weights);
    free(p->scales);
    free(p->values);
    free(p->masks);
    free(p->x);
    free(p->x_bf16);
}

#endif
