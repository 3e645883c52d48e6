/* SPDX-License-Identifier: MIT */
#ifndef MGLU_CPU_VEC_AVX2_H
#define MGLU_CPU_VEC_AVX2_H

#include "inline.h"

#include <immintrin.h>
#include <stdint.h>

typedef __m256 vec;

enum { VEC_LANES = 8, MASKS_PER_PASS = 2 };

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

/* A sum that began as +0 is never -0, so adding +0 leaves it as it is. */
MGLU_INLINE vec vec_add_masked(vec sum, vec p, uint32_t word, int part)
{
    __m256i bits = _mm256_slli_epi32(_mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128), part * VEC_LANES);
    __m256i chosen = _mm256_cmpeq_epi32(_mm256_and_si256(_mm256_set1_epi32((int)word), bits), bits);
    return _mm256_add_ps(sum, _mm256_and_ps(p, _mm256_castsi256_ps(chosen)));
}

MGLU_INLINE float vec_reduce(vec v)
{
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

#endif
