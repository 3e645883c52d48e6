/* SPDX-License-Identifier: MIT */
#define VECTOR_BYTES 32
#include "loops.h"

#include <immintrin.h>

static inline vector_i32 add_products(vector_i32 sums, vector_i32 x, vector_i32 y)
{
    return (vector_i32)_mm256_dpbusd_avx_epi32((__m256i)sums, (__m256i)x, (__m256i)y);
}

#include "loops_int8.h"

const struct kernels kernels_avxvnni = {
    .isa = "avx2-vnni",
    .read = {read_blocks, read_side_by_side},
    .units =
        {[UNIT_F32] = {"fma_f32", multiply_add, F32_OPERATIONS}, [UNIT_INT8] = {"dot_int8", dot_int8, INT8_OPERATIONS}},
};
