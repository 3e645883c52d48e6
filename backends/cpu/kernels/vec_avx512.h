/* SPDX-License-Identifier: MIT */
#ifndef MGLU_CPU_VEC_AVX512_H
#define MGLU_CPU_VEC_AVX512_H

#include "inline.h"

#include <immintrin.h>
#include <stdint.h>

typedef __m512 vec;

/* Half a mask word. A mask register is loaded with one, as a shift would take a unit that sums need. */
typedef __mmask16 __attribute__((may_alias)) mask_half;

enum { VEC_LANES = 16, VEC_MASKS = 8, VEC_MASKS_OF_TWO_ROWS = 4 };

#define VEC_FOR_MASK_COUNTS FOR_MASK_COUNTS_8

/* 24 sums and 2 weights of 32 registers; an x serves two multiplications. */
enum { TILE_VECS = 2, TILE_TOKENS = 12 };

MGLU_INLINE vec vec_zero(void)
{
    return _mm512_setzero_ps();
}

MGLU_INLINE vec vec_load_f32(const void *from)
{
    return _mm512_loadu_ps(from);
}

MGLU_INLINE void vec_store_f32(float *to, vec v)
{
    _mm512_storeu_ps(to, v);
}

/* The same, once for all uses: compilers would read it again for each. */
MGLU_INLINE vec vec_load_f32_once(const void *from)
{
    vec v = vec_load_f32(from);

    __asm__("" : "+v"(v));
    return v;
}

MGLU_INLINE vec vec_load_f16(const void *from)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256(from));
}

/* The first `count`, zeros behind them. */
#define VEC_LOADS_SOME_F16

MGLU_INLINE vec vec_load_some_f16(const void *from, int64_t count)
{
    return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16((__mmask16)((1u << count) - 1), from));
}

/* Rounds to nearest even; every NaN becomes the one canonical NaN. */
#define VEC_STORES_F16

MGLU_INLINE void vec_store_f16(void *to, vec v)
{
    const vec canonical = _mm512_castsi512_ps(_mm512_set1_epi32(0x7fc00000));
    const vec one_nan = _mm512_mask_mov_ps(v, _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q), canonical);
    _mm256_storeu_si256(to, _mm512_cvtps_ph(one_nan, _MM_FROUND_TO_NEAREST_INT));
}

MGLU_INLINE vec vec_load_bf16(const void *from)
{
    __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(from));
    return _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
}

/* Signed bytes. */
MGLU_INLINE vec vec_load_i8(const void *from)
{
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(from)));
}

/* The nibbles of bytes, `shift` (0 or 4) bits up, less 8. */
MGLU_INLINE vec vec_load_nibbles(const void *from, int shift)
{
    __m512i wide = _mm512_srli_epi32(_mm512_cvtepu8_epi32(_mm_loadu_si128(from)), (unsigned int)shift);
    __m512i nibbles = _mm512_and_si512(wide, _mm512_set1_epi32(15));
    return _mm512_cvtepi32_ps(_mm512_sub_epi32(nibbles, _mm512_set1_epi32(8)));
}

/* One f16 for all lanes. */
MGLU_INLINE vec vec_broadcast_f16(uint16_t half)
{
    return _mm512_cvtph_ps(_mm256_set1_epi16((short)half));
}

MGLU_INLINE vec vec_mul(vec a, vec b)
{
    return _mm512_mul_ps(a, b);
}

MGLU_INLINE vec vec_add(vec a, vec b)
{
    return _mm512_add_ps(a, b);
}

/*
 * The sum, computed by the multiply units: on Zen cores the add units also move the bits into mask registers.
 * Multiplying p by 1 is exact.
 */
MGLU_INLINE vec vec_add_masked(vec sum, vec p, const uint32_t *word, int part)
{
    return _mm512_mask3_fmadd_ps(p, _mm512_set1_ps(1.0f), sum, ((const mask_half *)word)[part]);
}

MGLU_INLINE vec vec_add_masked_at(vec sum, const float *p, const uint32_t *word, int part)
{
    return vec_add_masked(sum, vec_load_f32(p), word, part);
}

MGLU_INLINE vec vec_broadcast(const void *from)
{
    return _mm512_set1_ps(*(const float *)from);
}

MGLU_INLINE vec vec_fma(vec a, vec b, vec sum)
{
    return _mm512_fmadd_ps(a, b, sum);
}

/* The sum with w * x added, rounded once, where the lanes' bits of part `part` of the mask word are 1. */
MGLU_INLINE vec vec_fma_masked(vec w, vec x, vec sum, const uint32_t *word, int part)
{
    return _mm512_mask3_fmadd_ps(w, x, sum, ((const mask_half *)word)[part]);
}

/* v where the lanes' bits of part `part` of the mask word are 1, else +0. */
MGLU_INLINE vec vec_select(vec v, uint32_t word, int part)
{
    return _mm512_maskz_mov_ps((__mmask16)(word >> (part * VEC_LANES)), v);
}

/* Transposes: pairs of rows, then fours, then quarters of registers, twice. */
MGLU_INLINE void vec_transpose(vec rows[VEC_LANES])
{
    vec pairs[VEC_LANES], fours[VEC_LANES];

    MGLU_UNROLL
    for (int i = 0; i < VEC_LANES; i += 2) {
        pairs[i] = _mm512_unpacklo_ps(rows[i], rows[i + 1]);
        pairs[i + 1] = _mm512_unpackhi_ps(rows[i], rows[i + 1]);
    }
    MGLU_UNROLL
    for (int i = 0; i < VEC_LANES; i++) {
        const vec *p = pairs + i / 4 * 4 + i % 4 / 2;
        __m512d upper = _mm512_castps_pd(p[0]), lower = _mm512_castps_pd(p[2]);
        fours[i] = _mm512_castpd_ps(i % 2 ? _mm512_unpackhi_pd(upper, lower) : _mm512_unpacklo_pd(upper, lower));
    }
    MGLU_UNROLL
    for (int i = 0; i < 4; i++) {
        vec even_low = _mm512_shuffle_f32x4(fours[i], fours[i + 4], 0x88);
        vec even_high = _mm512_shuffle_f32x4(fours[i + 8], fours[i + 12], 0x88);
        vec odd_low = _mm512_shuffle_f32x4(fours[i], fours[i + 4], 0xdd);
        vec odd_high = _mm512_shuffle_f32x4(fours[i + 8], fours[i + 12], 0xdd);
        rows[i] = _mm512_shuffle_f32x4(even_low, even_high, 0x88);
        rows[i + 4] = _mm512_shuffle_f32x4(odd_low, odd_high, 0x88);
        rows[i + 8] = _mm512_shuffle_f32x4(even_low, even_high, 0xdd);
        rows[i + 12] = _mm512_shuffle_f32x4(odd_low, odd_high, 0xdd);
    }
}

MGLU_INLINE float vec_reduce(vec v)
{
    __m256 eight = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

#endif
