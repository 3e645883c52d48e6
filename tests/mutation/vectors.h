/* SPDX-License-Identifier: MIT */
#ifndef MGLU_MUTATION_VECTORS_H
#define MGLU_MUTATION_VECTORS_H

/* The longer faults of the CPU kernels, written with the vector type of the vec_<isa>.h that was included before. */

#include "common/core/half.h"
#include <mglu/types.h>

#include <math.h>

/* Fault 4. */
MGLU_INLINE uint32_t fault_reverse_bytes(uint32_t word)
{
    word = (word & 0x0f0f0f0fu) << 4 | (word >> 4 & 0x0f0f0f0fu);
    word = (word & 0x33333333u) << 2 | (word >> 2 & 0x33333333u);
    return (word & 0x55555555u) << 1 | (word >> 1 & 0x55555555u);
}

/* Fault 14: overflows. */
MGLU_INLINE float fault_silu(float g, float beta)
{
    return g * expf(beta * g) / (1.0f + expf(beta * g));
}

/* Faults 16 and 44. */
MGLU_INLINE void fault_round_sums(vec *total, vec *gates, int gate_parts, int total_parts, mglu_dtype dtype)
{
    for (int k = 0; k < total_parts + gate_parts; k++) {
        vec *v = k < total_parts ? total + k : gates + k - total_parts;
        for (int i = 0; i < VEC_LANES; i++)
            (*v)[i] = dtype == MGLU_DTYPE_F16 ? mglu_f16_to_f32(mglu_f32_to_f16((*v)[i]))
                                              : mglu_bf16_to_f32(mglu_f32_to_bf16((*v)[i]));
    }
}

/* Fault 31. */
MGLU_INLINE vec fault_mul_nonzero(vec w, vec x)
{
    vec p = w * x;

    for (int i = 0; i < VEC_LANES; i++)
        p[i] = x[i] == 0.0f ? 0.0f : p[i];
    return p;
}

/* Fault 32. */
MGLU_INLINE vec fault_add_multiplied(vec sum, vec p, const uint32_t *word, int part)
{
    for (int i = 0; i < VEC_LANES; i++)
        sum[i] += (float)((*word >> (part * VEC_LANES + i)) & 1u) * p[i];
    return sum;
}

/* Fault 43. */
MGLU_INLINE vec fault_weight_off(vec w)
{
    return w * (1.0f + 0x1p-10f);
}

#endif
