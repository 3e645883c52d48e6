/* SPDX-License-Identifier: MIT */
#ifndef MGLU_CPU_BYTES_AVX512VNNI_H
#define MGLU_CPU_BYTES_AVX512VNNI_H

#include "vec_avx512.h"

typedef __m512i bytes;

enum { BYTE_GROUPS = 2 };

MGLU_INLINE bytes bytes_load(const void *from, int groups)
{
    return groups == 2 ? _mm512_loadu_si512(from) : _mm512_zextsi256_si512(_mm256_loadu_si256(from));
}

MGLU_INLINE bytes bytes_select(bytes v, const uint32_t *words, int64_t pitch, int groups)
{
    const uint64_t first = words[0], second = groups == 2 ? words[pitch] : 0;

    return _mm512_maskz_mov_epi8((__mmask64)(first | second << 32), v);
}

MGLU_INLINE bytes bytes_magnitude(bytes w)
{
    return _mm512_abs_epi8(w);
}

MGLU_INLINE bytes bytes_signed(bytes x, bytes w)
{
    return _mm512_mask_sub_epi8(x, _mm512_movepi8_mask(w), _mm512_setzero_si512(), x);
}

MGLU_INLINE vec bytes_dot(bytes magnitude, bytes x)
{
    return _mm512_cvtepi32_ps(_mm512_dpbusd_epi32(_mm512_setzero_si512(), magnitude, x));
}

/* The scales of two groups, each for half of the lanes. */
MGLU_INLINE vec bytes_broadcast_scales(const float *scales)
{
    const __m512i half_of_lane = _mm512_setr_epi32(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1);

    return _mm512_permutexvar_ps(half_of_lane, _mm512_castsi512_ps(_mm512_broadcastq_epi64(_mm_loadu_si64(scales))));
}

#endif
