/* SPDX-License-Identifier: MIT */
#ifndef MGLU_CPU_BYTES_AVXVNNI_H
#define MGLU_CPU_BYTES_AVXVNNI_H

#include "bytes_avx2.h"

MGLU_INLINE vec bytes_dot(bytes magnitude, bytes x)
{
    return _mm256_cvtepi32_ps(_mm256_dpbusd_avx_epi32(_mm256_setzero_si256(), magnitude, x));
}

#endif
