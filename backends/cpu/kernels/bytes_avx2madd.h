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

#endif
