/* SPDX-License-Identifier: MIT */
#include "vec.h"

/* Panels of training in pairs of bf16, in AVX-512 BF16. */

enum { GROUP_WORDS = 16 };

MGLU_INLINE vec add_products(vec sums, vec right, vec left)
{
    return _mm512_dpbf16_ps(sums, (__m512bh)right, (__m512bh)left);
}

#include "train_product.h"

/* 32 elements, rounded to nearest even. */
MGLU_INLINE __m512i narrow(const float *elements)
{
    return (__m512i)_mm512_cvtne2ps_pbh(_mm512_loadu_ps(elements + 16), _mm512_loadu_ps(elements));
}

void mglu_train_pack_left_avx512bf16(const float *elements, char *left)
{
    _mm512_storeu_si512(left, narrow(elements));
}

/* Columns of two rows are interleaved: a word of column n has its elements of both rows. */
void mglu_train_pack_right_avx512bf16(const mglu_cpu_train_row *block, char *right)
{
    for (int k = 0; k < MGLU_CPU_TRAIN_BLOCK; k += 2) {
        for (int n = 0; n < MGLU_CPU_TRAIN_BLOCK; n += 16) {
            const __m512i lower = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(_mm512_loadu_ps(block[k] + n)));
            const __m512i upper = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(_mm512_loadu_ps(block[k + 1] + n)));
            _mm512_storeu_si512(right, _mm512_or_si512(lower, _mm512_slli_epi32(upper, 16)));
            right += 64;
        }
    }
}

const struct mglu_cpu_train_panels mglu_train_bf16_avx512bf16 = {
    .name = "bf16dot",
    .dtype = MGLU_DTYPE_BF16,
    .panel_rows = TILE_TOKENS,
    .most_groups = 16,
    .pack_left = mglu_train_pack_left_avx512bf16,
    .pack_right = mglu_train_pack_right_avx512bf16,
    .multiply = multiply,
};
