/* SPDX-License-Identifier: MIT */
#define VECTOR_BYTES 64
#include "loops.h"

#include <immintrin.h>

static inline vector_i32 add_products(vector_i32 sums, vector_i32 x, vector_i32 y)
{
    return (vector_i32)_mm512_dpbusd_epi32((__m512i)sums, (__m512i)x, (__m512i)y);
}

#include "loops_int8.h"

const struct kernels kernels_avx512vnni = {
    .isa = "avx512-vnni",
    .read = {read_blocks, read_side_by_side},
    .units =
        {[UNIT_F32] = {"fma_f32", multiply_add, F32_OPERATIONS}, [UNIT_INT8] = {"dot_int8", dot_int8, INT8_OPERATIONS}},
};
