/* SPDX-License-Identifier: MIT */
#ifndef MGLU_CPU_BYTES_NEONMULL_H
#define MGLU_CPU_BYTES_NEONMULL_H

#include "bytes_neon.h"

/* Weights are at least -128 and an x within 127, so sums of two products fit in 16 bits. */
MGLU_INLINE int16x8_t bytes_pairs(int8x16_t w, int8x16_t x)
{
    return vmlal_s8(vmull_s8(vget_low_s8(w), vget_low_s8(x)), vget_high_s8(w), vget_high_s8(x));
}

MGLU_INLINE vec bytes_dot(bytes w, bytes x)
{
    return vcvtq_f32_s32(vpadalq_s16(vpaddlq_s16(bytes_pairs(w.val[0], x.val[0])), bytes_pairs(w.val[1], x.val[1])));
}

#endif
