/* SPDX-License-Identifier: MIT */
#ifndef MGLU_CPU_WIDEN_H
#define MGLU_CPU_WIDEN_H

/* Conversion to f32, written once over the vectors of whichever vec_<isa>.h was included before. */

#include "common/core/mask_format.h"
#include <mglu/types.h>

#include <string.h>

MGLU_INLINE size_t element_bytes(mglu_dtype dtype)
{
    return dtype == MGLU_DTYPE_F32 ? sizeof(float) : sizeof(uint16_t);
}

/* One vector of elements as f32, from any address. `dtype` is a constant where this is used. */
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
