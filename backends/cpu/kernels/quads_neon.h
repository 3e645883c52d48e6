/* SPDX-License-Identifier: MIT */
#ifndef MGLU_CPU_QUADS_NEON_H
#define MGLU_CPU_QUADS_NEON_H

/* What the panels of GEMM of integers have in common in NEON: signed bytes, selected by mask words. */

#include "weights.h"

MGLU_INLINE int8x16_t load_bytes(const char *from)
{
    return vreinterpretq_s8_u8(vld1q_u8((const uint8_t *)(const void *)from));
}

MGLU_INLINE vec scale_factor(mglu_dtype dtype)
{
    return vdupq_n_f32(1);
}

/* Four quads of a row: half of a group. */
MGLU_INLINE vec load_quads(const char *group, int first, mglu_dtype dtype)
{
    if (dtype == MGLU_DTYPE_Q8_0)
        return vreinterpretq_f32_s8(load_bytes(group + 4 * first));
    const uint8x16_t both = vreinterpretq_u8_s8(load_bytes(group));
    const uint8x16_t nibbles = first == 0 ? vandq_u8(both, vdupq_n_u8(15)) : vshrq_n_u8(both, 4);
    return vreinterpretq_f32_s8(vsubq_s8(vreinterpretq_s8_u8(nibbles), vdupq_n_s8(MGLU_Q4_0_ZERO)));
}

/* 16 bytes: each is selected by the bit of its own in a byte of the four words. */
MGLU_INLINE void select_bytes(const char *from, const uint32_t *words, uint8x16_t byte, uint8x16_t bits, char *to)
{
    const uint8x16_t of_bytes = vqtbl1q_u8(vreinterpretq_u8_u32(vld1q_u32(words)), byte);
    const int8x16_t selected = vandq_s8(load_bytes(from), vreinterpretq_s8_u8(vtstq_u8(of_bytes, bits)));

    vst1q_s8((int8_t *)(void *)to, selected);
}

#endif
