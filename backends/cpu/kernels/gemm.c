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

/* Tokens that are missing repeat the last one. */
static void pack_tokens(const struct mglu_cpu_pack_x *job)
{
    for (int64_t word = 0; word < job->words; word += VEC_LANES) {
        vec words[VEC_LANES];
        MGLU_UNROLL
        for (int32_t t = 0; t < VEC_LANES; t++) {
            const int32_t token = job->tokens[t < job->count ? t : job->count - 1];
            words[t] = vec_load_f32(job->x + (size_t)token * job->x_stride + (size_t)word * sizeof(float));
        }
        vec_transpose(words);
        MGLU_UNROLL
        for (int32_t t = 0; t < VEC_LANES; t++)
            vec_store_f32(job->packed + (word + t) * VEC_LANES, words[t]);
    }
}

const struct mglu_cpu_gemm_kernels KERNEL(gemm) = {
    .tile_rows = GEMM_ROWS,
    .block_tokens = VEC_LANES,
    .pack_x = pack_tokens,
    .gemm =
        {
            [MGLU_DTYPE_F32] = gemm_f32,
            [MGLU_DTYPE_F16] = gemm_f16,
            [MGLU_DTYPE_BF16] = gemm_bf16,
            [MGLU_DTYPE_Q8_0] = gemm_q8_0,
            [MGLU_DTYPE_Q4_0] = gemm_q4_0,
        },
};
