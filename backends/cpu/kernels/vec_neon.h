/* SPDX-License-Identifier: MIT */
#ifndef MGLU_CPU_VEC_NEON_H
#define MGLU_CPU_VEC_NEON_H

#include "inline.h"

#include <arm_neon.h>
#include <stdint.h>
#include <string.h>

typedef float32x4_t vec;

/* The sums of two masks and the total take 24 of 32 registers. */
enum { VEC_LANES = 4, VEC_MASKS = 2, VEC_MASKS_OF_TWO_ROWS = 0 };

#define VEC_FOR_MASK_COUNTS FOR_MASK_COUNTS_2

/* 24 sums, 4 weights, an x and a product: 30 of 32 registers. */
enum { TILE_VECS = 4, TILE_TOKENS = 6 };

MGLU_INLINE vec vec_zero(void)
{
    return vdupq_n_f32(0.0f);
}

/* Loads of bytes, as elements may be unaligned. */
MGLU_INLINE vec vec_load_f32(const void *from)
{
    return vreinterpretq_f32_u8(vld1q_u8(from));
}

MGLU_INLINE void vec_store_f32(float *to, vec v)
{
    vst1q_f32(to, v);
}

MGLU_INLINE vec vec_load_f16(const void *from)
{
    return vcvt_f32_f16(vreinterpret_f16_u8(vld1_u8(from)));
}

MGLU_INLINE vec vec_load_bf16(const void *from)
{
    return vreinterpretq_f32_u32(vshll_n_u16(vreinterpret_u16_u8(vld1_u8(from)), 16));
}

/* Four bytes as integers of 32 bits. */
MGLU_INLINE int32x4_t vec_widen_bytes(int8x8_t bytes)
{
    return vmovl_s16(vget_low_s16(vmovl_s8(bytes)));
}

MGLU_INLINE uint32_t vec_four_bytes(const void *from)
{
    uint32_t bytes;
    memcpy(&bytes, from, sizeof bytes);
    return bytes;
}

/* Signed bytes. */
MGLU_INLINE vec vec_load_i8(const void *from)
{
    return vcvtq_f32_s32(vec_widen_bytes(vreinterpret_s8_u32(vdup_n_u32(vec_four_bytes(from)))));
}

/* The nibbles of bytes, `shift` (0 or 4) bits up, less 8. */
MGLU_INLINE vec vec_load_nibbles(const void *from, int shift)
{
    uint32_t nibbles = vec_four_bytes(from) >> shift & 0x0f0f0f0fu;
    return vcvtq_f32_s32(vec_widen_bytes(vsub_s8(vreinterpret_s8_u32(vdup_n_u32(nibbles)), vdup_n_s8(8))));
}

/* One f16 for all lanes. */
MGLU_INLINE vec vec_broadcast_f16(uint16_t half)
{
    return vcvt_f32_f16(vreinterpret_f16_u16(vdup_n_u16(half)));
}

MGLU_INLINE vec vec_mul(vec a, vec b)
{
    return vmulq_f32(a, b);
}

MGLU_INLINE vec vec_add(vec a, vec b)
{
    return vaddq_f32(a, b);
}

/* v where the lanes' bits of part `part` of the mask word are 1, else +0. */
MGLU_INLINE vec vec_select(vec v, uint32_t word, int part)
{
    const uint32x4_t bits = (uint32x4_t){1, 2, 4, 8} << (uint32_t)(part * VEC_LANES);
    uint32x4_t selected = vtstq_u32(vdupq_n_u32(word), bits);
    return vreinterpretq_f32_u32(vandq_u32(vreinterpretq_u32_f32(v), selected));
}

/* A sum that began as +0 is never -0, so adding +0 does not change it. */
MGLU_INLINE vec vec_add_masked(vec sum, vec p, const uint32_t *word, int part)
{
    return vaddq_f32(sum, vec_select(p, *word, part));
}

MGLU_INLINE vec vec_add_masked_at(vec sum, const float *p, const uint32_t *word, int part)
{
    return vec_add_masked(sum, vec_load_f32(p), word, part);
}

MGLU_INLINE vec vec_broadcast(const void *from)
{
    return vdupq_n_f32(*(const float *)from);
}

MGLU_INLINE vec vec_fma(vec a, vec b, vec sum)
{
    return vfmaq_f32(sum, a, b);
}

/* Transposes: pairs of rows, then fours. */
MGLU_INLINE void vec_transpose(vec rows[VEC_LANES])
{
    float32x4x2_t upper = vtrnq_f32(rows[0], rows[1]), lower = vtrnq_f32(rows[2], rows[3]);

    MGLU_UNROLL
    for (int i = 0; i < 2; i++) {
        rows[i] = vcombine_f32(vget_low_f32(upper.val[i]), vget_low_f32(lower.val[i]));
        rows[i + 2] = vcombine_f32(vget_high_f32(upper.val[i]), vget_high_f32(lower.val[i]));
    }
}

MGLU_INLINE float vec_reduce(vec v)
{
    float32x2_t two = vadd_f32(vget_low_f32(v), vget_high_f32(v));
    return vget_lane_f32(two, 0) + vget_lane_f32(two, 1);
}

#endif
