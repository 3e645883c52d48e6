/* SPDX-License-Identifier: MIT */
#define VECTOR_BYTES 32
#include "loops.h"

#include <immintrin.h>

/** The compiler must not know that x is the same every time. */
static inline vector_i32 add_products(vector_i32 sums, vector_i32 x, vector_i32 y)
{
    __asm__ volatile("" : "+x"(x));
    return sums + (vector_i32)_mm256_madd_epi16(_mm256_maddubs_epi16((__m256i)x, (__m256i)y), _mm256_set1_epi16(1));
}

#include "loops_int8.h"

const struct kernels kernels_avx2 = {
    .isa = "avx2",
    .read = {read_blocks, read_side_by_side},
    .units =
        {[UNIT_F32] = {"fma_f32", multiply_add, F32_OPERATIONS}, [UNIT_INT8] = {"dot_int8", dot_int8, INT8_OPERATIONS}},
};
