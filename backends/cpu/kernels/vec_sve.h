/* SPDX-License-Identifier: MIT */
#ifndef MGLU_CPU_VEC_SVE_H
#define MGLU_CPU_VEC_SVE_H

#include "inline.h"

#include <arm_sve.h>
#include <stdint.h>

/* Vectors of SVE, of the length that the compiler is told (-msve-vector-bits). Only what GEMV needs. */

typedef svfloat32_t vec __attribute__((arm_sve_vector_bits(__ARM_FEATURE_SVE_BITS)));

/* One bit for each byte of a vector. */
typedef svbool_t predicate __attribute__((arm_sve_vector_bits(__ARM_FEATURE_SVE_BITS)));

/* A part of a mask word, read in place. */
struct __attribute__((may_alias)) mask_bits {
    predicate of_bytes;
};

/* With 128 bits the sums of two masks and the total take 24 of 32 registers, with 256 those of six and it 28. */
enum {
    VEC_LANES = __ARM_FEATURE_SVE_BITS / 32,
    VEC_MASKS = VEC_LANES == 4 ? 2 : 6,
    VEC_MASKS_OF_TWO_ROWS = 0,
};

#if __ARM_FEATURE_SVE_BITS == 128
#define VEC_FOR_MASK_COUNTS FOR_MASK_COUNTS_2
#elif __ARM_FEATURE_SVE_BITS == 256
#define VEC_FOR_MASK_COUNTS FOR_MASK_COUNTS_6
#else
#error "a group has 32 mask bits: expected -msve-vector-bits=128 or 256"
#endif

MGLU_INLINE vec vec_zero(void)
{
    return svdup_f32(0.0f);
}

MGLU_INLINE vec vec_load_f32(const void *from)
{
    return svld1_f32(svptrue_b32(), from);
}

MGLU_INLINE void vec_store_f32(float *to, vec v)
{
    svst1_f32(svptrue_b32(), to, v);
}

/* Loads of 8 and 16 bits extend each element to the 32 bits of its lane. */
MGLU_INLINE vec vec_load_f16(const void *from)
{
    return svcvt_f32_f16_x(svptrue_b32(), svreinterpret_f16_u32(svld1uh_u32(svptrue_b32(), from)));
}

MGLU_INLINE vec vec_load_bf16(const void *from)
{
    return svreinterpret_f32_u32(svlsl_n_u32_x(svptrue_b32(), svld1uh_u32(svptrue_b32(), from), 16));
}

MGLU_INLINE vec vec_load_i8(const void *from)
{
    return svcvt_f32_s32_x(svptrue_b32(), svld1sb_s32(svptrue_b32(), from));
}

/* The nibbles of bytes, `shift` (0 or 4) bits up, less 8. */
MGLU_INLINE vec vec_load_nibbles(const void *from, int shift)
{
    const svuint32_t both = svld1ub_u32(svptrue_b32(), from);
    const svuint32_t nibbles =
        shift == 0 ? svand_n_u32_x(svptrue_b32(), both, 15) : svlsr_n_u32_x(svptrue_b32(), both, 4);

    return svcvt_f32_s32_x(svptrue_b32(), svsub_n_s32_x(svptrue_b32(), svreinterpret_s32_u32(nibbles), 8));
}

/* One f16 for all lanes. */
MGLU_INLINE vec vec_broadcast_f16(uint16_t half)
{
    return svcvt_f32_f16_x(svptrue_b32(), svreinterpret_f16_u32(svdup_u32(half)));
}

MGLU_INLINE vec vec_mul(vec a, vec b)
{
    return svmul_f32_x(svptrue_b32(), a, b);
}

MGLU_INLINE vec vec_add(vec a, vec b)
{
    return svadd_f32_x(svptrue_b32(), a, b);
}

MGLU_INLINE vec vec_broadcast(const void *from)
{
    return svdup_f32(*(const float *)from);
}

MGLU_INLINE vec vec_fma(vec a, vec b, vec sum)
{
    return svmla_f32_x(svptrue_b32(), sum, a, b);
}

/* The bits of a mask word for as many columns as a vector has bytes, of the part-th such vector. */
MGLU_INLINE predicate predicate_load(const uint32_t *word, int part)
{
    return ((const struct mask_bits *)(const void *)word)[part].of_bytes;
}

/*
 * One half of a predicate's bits, for lanes twice as wide. A lane is governed by the first of its bits, so the others
 * may be anything.
 */
MGLU_INLINE predicate predicate_half(predicate p, int half)
{
    return half == 0 ? svzip1_b8(p, p) : svzip2_b8(p, p);
}

MGLU_INLINE vec vec_add_masked(vec sum, vec p, const uint32_t *word, int part)
{
    const predicate of_halves = predicate_half(predicate_load(word, part / 4), part / 2 % 2);

    return svadd_f32_m(predicate_half(of_halves, part % 2), sum, p);
}

MGLU_INLINE vec vec_add_masked_at(vec sum, const float *p, const uint32_t *word, int part)
{
    return vec_add_masked(sum, vec_load_f32(p), word, part);
}

/* Lane j and lane j + 4, then j + 2, j + 1. */
MGLU_INLINE float vec_reduce(vec v)
{
    if (VEC_LANES == 8)
        v = vec_add(v, svext_f32(v, v, 4));
    v = vec_add(v, svext_f32(v, v, 2));
    v = vec_add(v, svext_f32(v, v, 1));
    return svlastb_f32(svptrue_pat_b32(SV_VL1), v);
}

#endif
