/* SPDX-License-Identifier: MIT */
#ifndef MGLU_BENCH_LOOPS_VNNI_H
#define MGLU_BENCH_LOOPS_VNNI_H

/**
 * @file
 * The loop of integers with AVX-512 VNNI.
 */

#define VECTOR_BYTES 64
#include "loops.h"

#include <immintrin.h>

static inline vector_i32 add_products(vector_i32 sums, vector_i32 x, vector_i32 y)
{
    return (vector_i32)_mm512_dpbusd_epi32((__m512i)sums, (__m512i)x, (__m512i)y);
}

#include "loops_int8.h"

#endif
