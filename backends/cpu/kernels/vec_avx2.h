/* SPDX-License-Identifier: MIT */
#ifndef MGLU_CPU_VEC_AVX2_H
#define MGLU_CPU_VEC_AVX2_H

#include "inline.h"

#include <immintrin.h>
#include <stdint.h>

typedef __m256 vec;

enum { VEC_LANES = 8, VEC_MASKS = 1, VEC_MASKS_OF_TWO_ROWS = 0 };

#define VEC_FOR_MASK_COUNTS FOR_MASK_COUNTS_1

/* 12 sums, 2 weights and an x fill 15 of 16 registers. */
enum { TILE_VECS = 2, TILE_TOKENS = 6 };

MGLU_INLINE vec vec_zero(void)
{
    return _mm256_setzero_ps();
}

MGLU_INLINE vec vec_load_f32(const void *from)
{
    return _mm256_loadu_ps(from);
}

MGLU_INLINE void vec_store_f32(float *to, vec v)
{
    _mm256_storeu_ps(to, v);
}

/* The same, once for all uses: compilers would read it again for each. */
MGLU_INLINE vec vec_load_f32_once(const void *from)
{
    vec v = vec_load_f32(from);

    __asm__("" : "+x"(v));
    return v;
}

MGLU_INLINE vec vec_load_f16(const void *from)
{
    return _mm256_cvtph_ps(_mm_loadu_si128(from));
}

/* Rounds to nearest even; every NaN becomes the one canonical NaN. */
#define VEC_STORES_F16

MGLU_INLINE void vec_store_f16(void *to, vec v)
{
    const vec canonical = _mm256_castsi256_ps(_mm256_set1_epi32(0x7fc00000));
    const vec one_nan = _mm256_blendv_ps(v, canonical, _mm256_cmp_ps(v, v, _CMP_UNORD_Q));
    _mm_storeu_si128(to, _mm256_cvtps_ph(one_nan, _MM_FROUND_TO_NEAREST_INT));
}

MGLU_INLINE vec vec_load_bf16(const void *from)
{
    __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128(from));
    return _mm256_castsi256_ps(_mm256_slli_epi32(wide, 16));
}

/* Signed bytes. */
MGLU_INLINE vec vec_load_i8(const void *from)
{
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadu_si64(from)));
}

/* The nibbles of bytes, `shift` (0 or 4) bits up, less 8. */
MGLU_INLINE vec vec_load_nibbles(const void *from, int shift)
{
    __m256i wide = _mm256_srli_epi32(_mm256_cvtepu8_epi32(_mm_loadu_si64(from)), shift);
    __m256i nibbles = _mm256_and_si256(wide, _mm256_set1_epi32(15));
    return _mm256_cvtepi32_ps(_mm256_sub_epi32(nibbles, _mm256_set1_epi32(8)));
}

/* One f16 for all lanes. */
MGLU_INLINE vec vec_broadcast_f16(uint16_t half)
{
    return _mm256_cvtph_ps(_mm_set1_epi16((short)half));
}

MGLU_INLINE vec vec_mul(vec a, vec b)
{
    return _mm256_mul_ps(a, b);
}

MGLU_INLINE vec vec_add(vec a, vec b)
{
    return _mm256_add_ps(a, b);
}

/* Moves each lane's bit of the mask word to its sign. */
MGLU_INLINE __m256i vec_lane_masks(uint32_t word, int part)
{
    __m256i to_top = _mm256_setr_epi32(31, 30, 29, 28, 27, 26, 25, 24);
    return _mm256_sllv_epi32(_mm256_set1_epi32((int)word),
                             _mm256_sub_epi32(to_top, _mm256_set1_epi32(part * VEC_LANES)));
}

/* v where the lanes' bits of part `part` of the mask word are 1, else +0. */
MGLU_INLINE vec vec_select(vec v, uint32_t word, int part)
{
    return _mm256_blendv_ps(vec_zero(), v, _mm256_castsi256_ps(vec_lane_masks(word, part)));
}

/* The same of a vector in memory. */
MGLU_INLINE vec vec_load_selected(const float *from, const uint32_t *word, int part)
{
    return _mm256_maskload_ps(from, vec_lane_masks(*word, part));
}

/* A sum that began as +0 is never -0, so adding +0 does not change it. */
MGLU_INLINE vec vec_add_masked(vec sum, vec p, const uint32_t *word, int part)
{
    return _mm256_add_ps(sum, vec_select(p, *word, part));
}

MGLU_INLINE vec vec_add_masked_at(vec sum, const float *p, const uint32_t *word, int part)
{
    return _mm256_add_ps(sum, vec_load_selected(p, word, part));
}

MGLU_INLINE vec vec_broadcast(const void *from)
{
    return _mm256_broadcast_ss(from);
}

MGLU_INLINE vec vec_fma(vec a, vec b, vec sum)
{
    return _mm256_fmadd_ps(a, b, sum);
}

/* Transposes: pairs of rows, then fours, then the halves of registers. */
MGLU_INLINE void vec_transpose(vec rows[VEC_LANES])
{
    vec pairs[VEC_LANES], fours[VEC_LANES];

    MGLU_UNROLL
    for (int i = 0; i < VEC_LANES; i += 2) {
        pairs[i] = _mm256_unpacklo_ps(rows[i], rows[i + 1]);
        pairs[i + 1] = _mm256_unpackhi_ps(rows[i], rows[i + 1]);
    }
    MGLU_UNROLL
    for (int i = 0; i < VEC_LANES; i++) {
        const vec *p = pairs + i / 4 * 4 + i % 4 / 2;
        __m256d upper = _mm256_castps_pd(p[0]), lower = _mm256_castps_pd(p[2]);
        fours[i] = _mm256_castpd_ps(i % 2 ? _mm256_unpackhi_pd(upper, lower) : _mm256_unpacklo_pd(upper, lower));
    }
    MGLU_UNROLL
    for (int i = 0; i < 4; i++) {
        rows[i] = _mm256_permute2f128_ps(fours[i], fours[i + 4], 0x20);
        rows[i + 4] = _mm256_permute2f128_ps(fours[i], fours[i + 4], 0x31);
    }
}

MGLU_INLINE float vec_reduce(vec v)
{
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

#endif
