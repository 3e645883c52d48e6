/* SPDX-License-Identifier: MIT */
#define VECTOR_BYTES 64
#include "loops.h"

#include <immintrin.h>

/** The compiler must not know that x is the same every time. */
static inline vector_i32 add_products(vector_i32 sums, vector_i32 x, vector_i32 y)
{
    __asm__ volatile("" : "+v"(x));
    return sums + (vector_i32)_mm512_madd_epi16(_mm512_maddubs_epi16((__m512i)x, (__m512i)y), _mm512_set1_epi16(1));
}

#include "loops_int8.h"

const struct kernels kernels_avx512 = {
    .isa = "avx512",
    .read = {read_blocks, read_side_by_side},
    .units =
        {[UNIT_F32] = {"fma_f32", multiply_add, F32_OPERATIONS}, [UNIT_INT8] = {"dot_int8", dot_int8, INT8_OPERATIONS}},
};
