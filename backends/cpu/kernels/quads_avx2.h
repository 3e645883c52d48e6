/* SPDX-License-Identifier: MIT */
#ifndef MGLU_CPU_QUADS_AVX2_H
#define MGLU_CPU_QUADS_AVX2_H

/* What the panels of GEMM of integers have in common in AVX2 and AVX-VNNI. */

#include "weights.h"

/* Quants of q4_0 are 16 times as large in a panel. */
MGLU_INLINE vec scale_factor(mglu_dtype dtype)
{
    return _mm256_set1_ps(dtype == MGLU_DTYPE_Q4_0 ? 0x1p-4f : 1);
}

/* The bytes of a quad that four bits of each row's word select: a byte of the word is copied to all four of its row. */
MGLU_INLINE __m256i selected_bytes(const uint32_t *words, int quad)
{
    const __m256i lanes =
        _mm256_set_epi32(0x0c0c0c0c, 0x08080808, 0x04040404, 0, 0x0c0c0c0c, 0x08080808, 0x04040404, 0);
    const __m256i byte = _mm256_shuffle_epi8(_mm256_loadu_si256((const void *)words),
                                             _mm256_add_epi8(lanes, _mm256_set1_epi8((char)(quad / 2))));
    const __m256i bits = _mm256_set1_epi32(quad % 2 ? (int)0x80402010 : 0x08040201);

    return _mm256_cmpeq_epi8(_mm256_and_si256(byte, bits), bits);
}

#endif
