/* SPDX-License-Identifier: MIT */
#ifndef MGLU_CPU_WEIGHTS_H
#define MGLU_CPU_WEIGHTS_H

/* The addresses of a row's weights, and their conversion to f32. */

#include "kernels.h"
#include "vec.h"

#include "common/core/mask_format.h"
#include <mglu/types.h>

/* Vectors of a group of columns. */
enum { VEC_PARTS = MGLU_GROUP_COLUMNS / VEC_LANES };

/* In all functions below `dtype` is a compile-time constant. */

MGLU_INLINE size_t element_bytes(mglu_dtype dtype)
{
    return dtype == MGLU_DTYPE_F32 ? sizeof(float) : sizeof(uint16_t);
}

/* One vector of elements as f32, from any address. */
MGLU_INLINE vec load_elements(const void *row, int64_t column, mglu_dtype dtype)
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

/* The addresses of a row's weights from one of its groups on, and of their scales if quantised. */
struct weight_row {
    const char *weights;
    const uint16_t *scales;
};

MGLU_INLINE struct weight_row row_from(const struct mglu_cpu_matrix *matrix, int64_t row, int64_t group,
                                       mglu_dtype dtype)
{
    const char *weights = matrix->rows + (size_t)row * matrix->stride_bytes;

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
        .scale = is_quantised(dtype) ? vec_broadcast_f16(row.scales[group]) : vec_zero(),
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
    return load_elements(group->weights, column, dtype);
}

/* The products of a part of a group with x, the input of that group's columns. */
MGLU_INLINE vec multiply(const struct weight_group *group, const float *x, int part, mglu_dtype dtype)
{
    return vec_mul(load_part(group, part, dtype), vec_load_f32(x + part * VEC_LANES));
}

/* The mask words of a row from a group on: words[i] is that of mask i, words[i + pitch] the next group's. */
MGLU_INLINE const uint32_t *mask_words(const struct mglu_cpu_matrix *matrix, int64_t row, int64_t group)
{
    return matrix->masks + mglu_format_mask_word((mglu_index)row, (mglu_index)group, 0, (mglu_index)matrix->groups,
                                                 (mglu_u32)matrix->n_masks);
}

MGLU_INLINE int64_t mask_pitch(const struct mglu_cpu_matrix *matrix)
{
    return (int64_t)mglu_format_mask_pitch((mglu_u32)matrix->n_masks);
}

#endif
