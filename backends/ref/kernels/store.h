/* SPDX-License-Identifier: MIT */
#ifndef MGLU_REF_STORE_H
#define MGLU_REF_STORE_H

#include "common/core/convert.h"

#include <math.h>

/*
 * The f32 rounded to odd: rounding it again, to a type of at most 22 bits, gives the same as rounding the double
 * directly.
 */
static inline float mglu_ref_round_to_odd(double value)
{
    float nearest = (float)value;
    uint32_t bits = mglu_f32_bits(nearest);

    if ((double)nearest == value || value != value)
        return nearest;
    if (fabs((double)nearest) > fabs(value))
        bits--;
    return mglu_f32_from_bits(bits | 1u);
}

/* Stores a double, rounded once. */
static inline void mglu_ref_store(void *array, mglu_dtype dtype, size_t index, double value)
{
    mglu_store_element(array, dtype, index, dtype == MGLU_DTYPE_F32 ? (float)value : mglu_ref_round_to_odd(value));
}

#endif
