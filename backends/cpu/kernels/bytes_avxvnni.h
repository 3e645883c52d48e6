/* SPDX-License-Identifier: MIT */
#ifndef MGLU_CPU_BYTES_AVXVNNI_H
#define MGLU_CPU_BYTES_AVXVNNI_H

#include "bytes_avx2.h"

MGLU_INLINE vec bytes_dot(bytes magnitude, bytes x)
{
    return _mm256_cvtepi32_ps(_mm256_dpbusd_avx_epi32(_mm256_setzero_si256(), magnitude, x));
}

MGLU_INLINE bytes halves_add(bytes sum, struct halves nibbles, struct halves x)
{
    return _mm256_dpbusd_avx_epi32(_mm256_dpbusd_avx_epi32(sum, nibbles.low, x.low), nibbles.high, x.high);
}

MGLU_INLINE bytes halves_start(struct halves x)
{
    const bytes eights = _mm256_set1_epi8(8), zero = _mm256_setzero_si256();

    return _mm256_sub_epi32(zero, halves_add(zero, (struct halves){eights, eights}, x));
}

MGLU_INLINE vec halves_dot(bytes start, struct halves nibbles, struct halves x)
{
    return _mm256_cvtepi32_ps(halves_add(start, nibbles, x));
}

#endif
