/* SPDX-License-Identifier: MIT */
#ifndef MGLU_CPU_QUANTS_VNNI_H
#define MGLU_CPU_QUANTS_VNNI_H

#include "weights.h"

/*
 * Quants as unsigned bytes for AVX-512 VNNI: weights + 128. A weight of q4_0 is 16 times as large, and its scale 16
 * times as small.
 */

MGLU_INLINE vec scale_factor(mglu_dtype dtype)
{
    return _mm512_set1_ps(dtype == MGLU_DTYPE_Q4_0 ? 0x1p-4f : 1);
}

/* The quants of two groups, the second of which may be padding. */
MGLU_INLINE __m512i load_quants(const char *group, mglu_dtype dtype)
{
    if (dtype == MGLU_DTYPE_Q8_0)
        return _mm512_xor_si512(_mm512_loadu_si512(group), _mm512_set1_epi8(-128));
    const __m512i upper_lower = _mm512_setr_epi64(0, 1, 0, 1, 2, 3, 2, 3),
                  shift = _mm512_setr_epi64(4, 4, 0, 0, 4, 4, 0, 0);
    const __m512i both = _mm512_zextsi256_si512(_mm256_loadu_si256((const void *)group));
    const __m512i twice = _mm512_sllv_epi64(_mm512_permutexvar_epi64(upper_lower, both), shift);
    return _mm512_and_si512(twice, _mm512_set1_epi8(-16));
}

/* The same where a bit of `selected` is 1, else those of a weight of zero. */
MGLU_INLINE __m512i select_quants(const char *group, uint64_t selected, mglu_dtype dtype)
{
    const __m512i zero = _mm512_set1_epi8(-128);

    if (dtype == MGLU_DTYPE_Q8_0)
        return _mm512_mask_add_epi8(zero, selected, _mm512_loadu_si512(group), zero);
    return _mm512_mask_blend_epi8(selected, zero, load_quants(group, dtype));
}

#endif
