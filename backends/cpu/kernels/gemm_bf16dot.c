/* SPDX-License-Identifier: MIT */
#include "weights.h"

/*
 * GEMM of pairs of bf16 in AVX-512 BF16: a word is two columns of a row, and of x. vdpbf16ps multiplies and adds both,
 * flushing subnormals, in another summation order than gemm.c.
 */

enum { COLUMNS_PER_WORD = 2 };

MGLU_INLINE vec load_words(const struct weight_group *group, int part, uint32_t mask, mglu_dtype dtype)
{
    const __m512i words = _mm512_loadu_si512(group->weights);

    return _mm512_castsi512_ps(_mm512_maskz_mov_epi16((__mmask32)mask, words));
}

MGLU_INLINE vec add_products(vec sums, vec words, vec x)
{
    return _mm512_dpbf16_ps(sums, (__m512bh)words, (__m512bh)x);
}

#include "gemm.h"

GEMM_KERNEL(bf16, BF16)

void mglu_gemm_bf16_avx512bf16(const struct mglu_cpu_gemm *job)
{
    gemm_bf16(job);
}
