/* SPDX-License-Identifier: MIT */
#ifndef MGLU_CORE_CONVERT_H
#define MGLU_CORE_CONVERT_H

#include <mglu/types.h>

#include "common/core/half.h"

/* Element access by dtype, for code where speed does not matter. Needs no alignment. */

/* Element `index` of an array as f32; exact for every unquantised dtype. */
static inline float mglu_load_element(const void *array, mglu_dtype dtype, size_t index)
{
    const unsigned char *bytes = array;
    uint16_t half;
    float value;

    if (dtype == MGLU_DTYPE_F32) {
        memcpy(&value, bytes + index * sizeof value, sizeof value);
        return value;
    }
    memcpy(&half, bytes + index * sizeof half, sizeof half);
    return dtype == MGLU_DTYPE_F16 ? mglu_f16_to_f32(half) : mglu_bf16_to_f32(half);
}

/* Stores a value, rounded to nearest even. */
static inline void mglu_store_element(void *array, mglu_dtype dtype, size_t index, float value)
{
    unsigned char *bytes = array;
    uint16_t half;

    if (dtype == MGLU_DTYPE_F32) {
        memcpy(bytes + index * sizeof value, &value, sizeof value);
        return;
    }
    half = dtype == MGLU_DTYPE_F16 ? mglu_f32_to_f16(value) : mglu_f32_to_bf16(value);
    memcpy(bytes + index * sizeof half, &half, sizeof half);
}

static inline int mglu_is_finite(float value)
{
    return (mglu_f32_bits(value) & 0x7f800000u) != 0x7f800000u;
}

/*
 * Converts `count` elements; arguments are not checked. Returns the index of the first element that is not finite in
 * the target dtype, or `count`; all elements are converted either way.
 */
size_t mglu_convert_elements(const void *source, mglu_dtype source_dtype, void *target, mglu_dtype target_dtype,
                             size_t count);

#endif
