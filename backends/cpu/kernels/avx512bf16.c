/* SPDX-License-Identifier: MIT */
#if !defined(__AVX512BF16__) || !defined(__AVX512BW__) || !defined(__AVX512DQ__) || !defined(__AVX512VL__)
#error "build this file with -mavx512bf16 and all that avx512.c needs"
#endif

#include "kernels.h"
#include "vec_avx512.h"

#include "common/core/mask_format.h"

/*
 * vdpbf16ps multiplies and adds pairs of bf16: half the work, but in other steps and flushing subnormals, so layers
 * that ask to be reproducible do not use it. Every sum has a place in the registers. Few sums are spread over two
 * chains of additions each, to hide the latency; many hide each other's.
 */

enum { CHAINS = 2, SUMS_THAT_NEED_CHAINS = 4, MASKS_AT_ONCE = MGLU_MAX_MASKS };

typedef struct sum {
    __m512 chain[CHAINS];
} sum;

MGLU_INLINE float sum_reduce(sum s)
{
    return vec_reduce(_mm512_add_ps(s.chain[0], s.chain[1]));
}

/* Adds the products of one group to the total and to n gate sums. `n` and `chain` are constants where this is used. */
MGLU_INLINE void add_group(const __m512i *weights, __m512i columns, const uint32_t *const *words, int64_t word, int n,
                           int chain, sum *t, sum *s)
{
    const __m512i w = *weights;
    const __m512bh x = (__m512bh)columns;

    prefetch_weights(weights, sizeof w, AHEAD);
    t->chain[chain] = _mm512_dpbf16_ps(t->chain[chain], (__m512bh)w, x);
    MGLU_UNROLL
    for (int i = 0; i < n; i++) {
        __m512i chosen = _mm512_maskz_mov_epi16((__mmask32)words[i][word], w);
        s[i].chain[chain] = _mm512_dpbf16_ps(s[i].chain[chain], (__m512bh)chosen, x);
    }
}

/* Row r's total and its n gate sums. `n` is a constant where this is used; there never are more. */
MGLU_INLINE void sum_row(const struct mglu_cpu_sums *job, int32_t r, mglu_dtype dtype, int n, int more)
{
    const struct mglu_cpu_matrix *matrix = job->matrix;
    const int64_t row = job->first_row + r, groups = matrix->groups, n_masks = matrix->n_masks;
    const __m512i *w = (const __m512i *)(const void *)(matrix->rows + (size_t)row * matrix->row_stride);
    const __m512i *x = job->x;
    const int other = 1 + n < SUMS_THAT_NEED_CHAINS;
    const uint32_t *words[MGLU_MAX_MASKS];
    sum t = {{vec_zero(), vec_zero()}}, s[MGLU_MAX_MASKS];
    int64_t group = 0;

    MGLU_UNROLL
    for (int i = 0; i < n; i++) {
        words[i] = matrix->masks + row * groups * n_masks + job->mask_ids[i];
        s[i] = t;
    }
    for (; group + 1 < groups; group += 2) {
        add_group(w + group, x[group], words, group * n_masks, n, 0, &t, s);
        add_group(w + group + 1, x[group + 1], words, (group + 1) * n_masks, n, other, &t, s);
    }
    if (group < groups)
        add_group(w + group, x[group], words, group * n_masks, n, 0, &t, s);
    job->totals[r] = sum_reduce(t);
    MGLU_UNROLL
    for (int i = 0; i < n; i++)
        job->gates[i][r] = sum_reduce(s[i]);
}

#include "passes.h"

void mglu_sums_bf16_avx512bf16(const struct mglu_cpu_sums *job)
{
    sum_rows(job, 0, MGLU_DTYPE_BF16);
}

/* Tiles of the same products: a word is two columns of a row, and of x. */

enum { COLUMNS_PER_WORD = 2 };

MGLU_INLINE vec load_words(const struct mglu_cpu_matrix *matrix, int64_t row, int64_t group, int part, uint32_t mask,
                           mglu_dtype dtype)
{
    __m512i words = ((const __m512i *)(const void *)(matrix->rows + (size_t)row * matrix->row_stride))[group];
    return _mm512_castsi512_ps(_mm512_maskz_mov_epi16((__mmask32)mask, words));
}

MGLU_INLINE vec add_products(vec to, vec words, vec x)
{
    return _mm512_dpbf16_ps(to, (__m512bh)words, (__m512bh)x);
}

#include "tiles.h"

void mglu_tiles_bf16_avx512bf16(const struct mglu_cpu_tiles *job)
{
    sum_tiles(job, MGLU_DTYPE_BF16);
}
