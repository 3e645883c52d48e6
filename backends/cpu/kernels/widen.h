/* SPDX-License-Identifier: MIT */
#ifndef MGLU_CPU_WIDEN_H
#define MGLU_CPU_WIDEN_H

/* Conversion to f32 of weights and of x, written once over the vectors of whichever vec_<isa>.h was included before. */

#include "kernels.h"

#include "common/core/mask_format.h"
#include <mglu/types.h>

#include <string.h>

/* In all that follows `dtype` is a constant where it is used. */

MGLU_INLINE size_t element_bytes(mglu_dtype dtype)
{
    return dtype == MGLU_DTYPE_F32 ? sizeof(float) : sizeof(uint16_t);
}

/* One vector of elements as f32, from any address. */
MGLU_INLINE vec load(const void *row, int64_t column, mglu_dtype dtype)
{
    switch (dtype) {
    case MGLU_DTYPE_F16:
        return vec_load_f16((const char *)row + 2 * column);
    case MGLU_DTYPE_BF16:
        return vec_load_bf16((const char *)row + 2 * column);
    default:
        return vec_load_f32((const char *)row + 4 * column);
    }
}

MGLU_INLINE int is_quantised(mglu_dtype dtype)
{
    return dtype == MGLU_DTYPE_Q8_0 || dtype == MGLU_DTYPE_Q4_0;
}

/* Bytes of a group, without its scale. */
MGLU_INLINE size_t group_bytes(mglu_dtype dtype)
{
    if (dtype == MGLU_DTYPE_Q8_0)
        return MGLU_GROUP_COLUMNS;
    return dtype == MGLU_DTYPE_Q4_0 ? MGLU_Q4_0_GROUP_BYTES : MGLU_GROUP_COLUMNS * element_bytes(dtype);
}

/* Where a row's weights lie from one of its groups on, and their scales where they are quantised. */
struct weight_row {
    const char *weights;
    const uint16_t *scales;
};

MGLU_INLINE struct weight_row row_from(const struct mglu_cpu_matrix *matrix, int64_t row, int64_t group,
                                       mglu_dtype dtype)
{
    const char *weights = matrix->rows + (size_t)row * matrix->row_stride;

    return (struct weight_row){
        .weights = weights + (size_t)group * group_bytes(dtype),
        .scales = is_quantised(dtype)
                      ? (const uint16_t *)(const void *)(matrix->scales + (size_t)row * matrix->scale_stride) + group
                      : NULL,
    };
}

struct weight_group {
    const char *weights;
    vec scale;
};

MGLU_INLINE struct weight_group group_of(struct weight_row row, int64_t group, mglu_dtype dtype)
{
    return (struct weight_group){
        .weights = row.weights + (size_t)group * group_bytes(dtype),
        .scale = is_quantised(dtype) ? vec_spread_f16(row.scales[group]) : vec_zero(),
    };
}

/* A part of a group as f32: exact, for scale * quant has few enough bits. */
MGLU_INLINE vec load_part(const struct weight_group *group, int part, mglu_dtype dtype)
{
    const int column = part * VEC_LANES;

    if (dtype == MGLU_DTYPE_Q8_0)
        return vec_mul(group->scale, vec_load_i8(group->weights + column));
    if (dtype == MGLU_DTYPE_Q4_0)
        return vec_mul(group->scale, vec_load_nibbles(group->weights + column % MGLU_Q4_0_GROUP_BYTES,
                                                      column < MGLU_Q4_0_GROUP_BYTES ? 0 : 4));
    return load(group->weights, column, dtype);
}

MGLU_INLINE void widen(const void *source, float *target, int64_t count, mglu_dtype dtype)
{
    uint32_t last[MGLU_GROUP_COLUMNS] = {0};
    int64_t whole = count / MGLU_GROUP_COLUMNS * MGLU_GROUP_COLUMNS;

    for (int64_t column = 0; column < whole; column += VEC_LANES)
        vec_store_f32(target + column, load(source, column, dtype));
    if (count == whole)
        return;
    memcpy(last, (const char *)source + (size_t)whole * element_bytes(dtype),
           (size_t)(count - whole) * element_bytes(dtype));
    for (int64_t column = 0; column < MGLU_GROUP_COLUMNS; column += VEC_LANES)
        vec_store_f32(target + whole + column, load(last, column, dtype));
}

#endif
