/* SPDX-License-Identifier: MIT */
#include "weights.h"

/* GEMM on weights converted to f32. */

enum { COLUMNS_PER_WORD = 1 };

MGLU_INLINE vec load_words(const struct weight_group *group, int part, uint32_t mask, mglu_dtype dtype)
{
    return vec_select(load_part(group, part, dtype), mask, part);
}

MGLU_INLINE vec add_products(vec sums, vec words, vec x)
{
    return vec_fma(words, x, sums);
}

#include "gemm.h"

GEMM_KERNEL(f32, F32)
GEMM_KERNEL(f16, F16)
GEMM_KERNEL(bf16, BF16)
GEMM_KERNEL(q8_0, Q8_0)
GEMM_KERNEL(q4_0, Q4_0)

const struct mglu_cpu_gemm_kernels KERNEL(gemm) = {
    .tile_rows = TILE_ROWS,
    .gemm =
        {
            [MGLU_DTYPE_F32] = gemm_f32,
            [MGLU_DTYPE_F16] = gemm_f16,
            [MGLU_DTYPE_BF16] = gemm_bf16,
            [MGLU_DTYPE_Q8_0] = gemm_q8_0,
            [MGLU_DTYPE_Q4_0] = gemm_q4_0,
        },
};
