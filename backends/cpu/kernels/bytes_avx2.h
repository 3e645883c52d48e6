/* SPDX-License-Identifier: MIT */
#ifndef MGLU_CPU_BYTES_AVX2_H
#define MGLU_CPU_BYTES_AVX2_H

/* Vectors of bytes in AVX2; products are in bytes_avx2madd.h and bytes_avxvnni.h. */

#include "vec_avx2.h"

typedef __m256i bytes;

enum { BYTE_GROUPS = 1 };

/* Bytes of two groups, for gemv_nibbles.h: columns 0 to 15 of each, and 16 to 31. */
#define BYTES_HALVES

struct halves {
    bytes low, high;
};

MGLU_INLINE bytes bytes_load(const void *from, int groups)
{
    return _mm256_loadu_si256(from);
}

/* Broadcasts each byte of the word to eight lanes, each of which extracts one bit. */
MGLU_INLINE bytes bytes_select(bytes v, const uint32_t *words, int64_t pitch, int groups)
{
    const __m256i byte_of_lane = _mm256_setr_epi64x(0, 0x0101010101010101, 0x0202020202020202, 0x0303030303030303);
    const __m256i bit_of_lane = _mm256_set1_epi64x((long long)0x8040201008040201);
    const __m256i word = _mm256_shuffle_epi8(_mm256_set1_epi32((int)*words), byte_of_lane);

    return _mm256_and_si256(v, _mm256_cmpeq_epi8(_mm256_and_si256(word, bit_of_lane), bit_of_lane));
}

MGLU_INLINE bytes bytes_magnitude(bytes w)
{
    return _mm256_abs_epi8(w);
}

MGLU_INLINE bytes bytes_signed(bytes x, bytes w)
{
    return _mm256_sign_epi8(x, w);
}

MGLU_INLINE vec bytes_broadcast_scales(const float *scales)
{
    return vec_broadcast(scales);
}

#endif
