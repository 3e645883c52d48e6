/* SPDX-License-Identifier: MIT */
#ifndef MGLU_CPU_VEC_AVX2_H
#define MGLU_CPU_VEC_AVX2_H

#include "inline.h"

#include <immintrin.h>
#include <stdint.h>

typedef __m256 vec;

enum { VEC_LANES = 8, VEC_MASKS = 1 };

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

MGLU_INLINE vec vec_load_f16(const void *from)
{
    return _mm256_cvtph_ps(_mm_loadu_si128(from));
}

MGLU_INLINE vec vec_load_bf16(const void *from)
{
    __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128(from));
    return _mm256_castsi256_ps(_mm256_slli_epi32(wide, 16));
}

MGLU_INLINE vec vec_mul(vec a, vec b)
{
    return _mm256_mul_ps(a, b);
}

MGLU_INLINE vec vec_add(vec a, vec b)
{
    return _mm256_add_ps(a, b);
}

/* Lanes whose top bit is the one of the word that is theirs. */
MGLU_INLINE __m256i vec_chosen(uint32_t word, int part)
{
    __m256i to_top = _mm256_setr_epi32(31, 30, 29, 28, 27, 26, 25, 24);
    return _mm256_sllv_epi32(_mm256_set1_epi32((int)word),
                             _mm256_sub_epi32(to_top, _mm256_set1_epi32(part * VEC_LANES)));
}

/* A sum that began as +0 is never -0, so adding +0 leaves it as it is. */
MGLU_INLINE vec vec_add_masked(vec sum, vec p, uint32_t word, int part)
{
    return _mm256_add_ps(sum, _mm256_blendv_ps(vec_zero(), p, _mm256_castsi256_ps(vec_chosen(word, part))));
}

MGLU_INLINE vec vec_add_masked_at(vec sum, const float *p, uint32_t word, int part)
{
    return _mm256_add_ps(sum, _mm256_maskload_ps(p, vec_chosen(word, part)));
}

MGLU_INLINE float vec_reduce(vec v)
{
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

#endif
