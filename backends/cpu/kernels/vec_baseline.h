/* SPDX-License-Identifier: MIT */
#ifndef MGLU_CPU_VEC_BASELINE_H
#define MGLU_CPU_VEC_BASELINE_H

#include "inline.h"

#include "common/core/half.h"

/* Vectors of 4 as GNU C vector extensions: SSE2 on x86-64, NEON on AArch64, scalars on other machines. */
typedef float vec __attribute__((vector_size(16)));
typedef int32_t vec_i32 __attribute__((vector_size(16)));
typedef uint32_t vec_u32 __attribute__((vector_size(16)));
typedef uint16_t vec_u16 __attribute__((vector_size(8)));
typedef int8_t vec_i8 __attribute__((vector_size(4)));
typedef uint8_t vec_u8 __attribute__((vector_size(4)));

enum { VEC_LANES = 4, VEC_MASKS = 1, VEC_MASKS_OF_TWO_ROWS = 0 };

#define VEC_FOR_MASK_COUNTS FOR_MASK_COUNTS_1

/* 8 sums, an x and a product of 16 registers; weights are memory operands. */
enum { TILE_VECS = 4, TILE_TOKENS = 2 };

MGLU_INLINE vec vec_zero(void)
{
    return (vec){0};
}

MGLU_INLINE vec vec_load_f32(const void *from)
{
    vec v;
    memcpy(&v, from, sizeof v);
    return v;
}

MGLU_INLINE void vec_store_f32(float *to, vec v)
{
    memcpy(to, &v, sizeof v);
}

/* 16-bit values in the upper halves of lanes. */
MGLU_INLINE vec_u32 vec_load_upper(const void *from)
{
    vec_u16 v;
    memcpy(&v, from, sizeof v);
    return __builtin_convertvector(v, vec_u32) << 16;
}

/*
 * Shifting exponent and mantissa to their place gives a value too small by a factor 2^112, subnormals included. Inf and
 * NaN then have the exponent of 2^16, which no finite half has.
 */
MGLU_INLINE vec vec_load_f16(const void *from)
{
    vec_i32 moved = ((vec_i32)vec_load_upper(from) >> 3) & ~0x70001fff;
    vec_i32 bits = (vec_i32)((vec)moved * 0x1p112f);
    vec_i32 not_finite = (bits & 0x7fffffff) >= 0x47800000;
    return (vec)(bits | (not_finite & 0x7f800000));
}

MGLU_INLINE vec vec_load_bf16(const void *from)
{
    return (vec)vec_load_upper(from);
}

/* Signed bytes. */
MGLU_INLINE vec vec_load_i8(const void *from)
{
    vec_i8 v;
    memcpy(&v, from, sizeof v);
    return __builtin_convertvector(v, vec);
}

/* The nibbles of bytes, `shift` (0 or 4) bits up, less 8. */
MGLU_INLINE vec vec_load_nibbles(const void *from, int shift)
{
    vec_u8 v;
    memcpy(&v, from, sizeof v);
    return __builtin_convertvector((__builtin_convertvector(v, vec_i32) >> shift & 15) - 8, vec);
}

/* One f16 for all lanes. */
MGLU_INLINE vec vec_broadcast_f16(uint16_t half)
{
    return vec_zero() + mglu_f16_to_f32(half);
}

MGLU_INLINE vec vec_mul(vec a, vec b)
{
    return a * b;
}

MGLU_INLINE vec vec_add(vec a, vec b)
{
    return a + b;
}

/* v where the lanes' bits of part `part` of the mask word are 1, else +0. */
MGLU_INLINE vec vec_select(vec v, uint32_t word, int part)
{
    vec_u32 bits = (vec_u32){1, 2, 4, 8} << (uint32_t)(part * VEC_LANES);
    vec_i32 selected = (((vec_u32){0} + word) & bits) == bits;
    return (vec)((vec_i32)v & selected);
}

/* A sum that began as +0 is never -0, so adding +0 does not change it. */
MGLU_INLINE vec vec_add_masked(vec sum, vec p, const uint32_t *word, int part)
{
    return sum + vec_select(p, *word, part);
}

MGLU_INLINE vec vec_add_masked_at(vec sum, const float *p, const uint32_t *word, int part)
{
    return vec_add_masked(sum, vec_load_f32(p), word, part);
}

MGLU_INLINE vec vec_broadcast(const void *from)
{
    float value;
    memcpy(&value, from, sizeof value);
    return (vec){value, value, value, value};
}

/* Not fused: not every baseline machine has that instruction. */
MGLU_INLINE vec vec_fma(vec a, vec b, vec sum)
{
    return sum + a * b;
}

/* Transposes by elements, since only newer compilers have portable shuffles. */
MGLU_INLINE void vec_transpose(vec rows[VEC_LANES])
{
    vec a = rows[0], b = rows[1], c = rows[2], d = rows[3];

    MGLU_UNROLL
    for (int i = 0; i < VEC_LANES; i++)
        rows[i] = (vec){a[i], b[i], c[i], d[i]};
}

MGLU_INLINE float vec_reduce(vec v)
{
    return (v[0] + v[2]) + (v[1] + v[3]);
}

#endif
