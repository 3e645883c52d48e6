/* SPDX-License-Identifier: MIT */
#ifndef MGLU_CPU_BYTES_AVX2MADD_H
#define MGLU_CPU_BYTES_AVX2MADD_H

#include "bytes_avx2.h"

/* A magnitude is at most 128 and an |x| at most 127, so sums of two products fit in 16 bits. */
MGLU_INLINE vec bytes_dot(bytes magnitude, bytes x)
{
    const __m256i pairs = _mm256_maddubs_epi16(magnitude, x);

    return _mm256_cvtepi32_ps(_mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}

/* Pairs of the low and the high nibbles with x fit in 16 bits, and eight times their x too. */
MGLU_INLINE bytes halves_pairs(struct halves nibbles, struct halves x)
{
    return _mm256_add_epi16(_mm256_maddubs_epi16(nibbles.low, x.low), _mm256_maddubs_epi16(nibbles.high, x.high));
}

MGLU_INLINE bytes halves_start(struct halves x)
{
    const bytes eights = _mm256_set1_epi8(8);

    return _mm256_sub_epi16(_mm256_setzero_si256(), halves_pairs((struct halves){eights, eights}, x));
}

MGLU_INLINE vec halves_dot(bytes start, struct halves nibbles, struct halves x)
{
    const __m256i pairs = _mm256_add_epi16(start, halves_pairs(nibbles, x));

    return _mm256_cvtepi32_ps(_mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}

#endif
