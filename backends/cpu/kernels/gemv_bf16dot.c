/* SPDX-License-Identifier: MIT */
#include "for_mask_count.h"
#include "weights.h"

/*
 * GEMV of bf16 in AVX-512 BF16. vdpbf16ps multiplies and adds pairs of bf16: half the work, but in another summation
 * order and flushing subnormals, so reproducible layers do not use it. All sums are in registers. With few sums, each
 * uses two chains of additions to hide the latency; many hide each other's.
 */

enum { CHAINS = 2, SUMS_THAT_NEED_CHAINS = 4 };

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

    prefetch_weights(weights, sizeof w, PREFETCH_DISTANCE);
    t->chain[chain] = _mm512_dpbf16_ps(t->chain[chain], (__m512bh)w, x);
    MGLU_UNROLL
    for (int i = 0; i < n; i++) {
        __m512i selected = _mm512_maskz_mov_epi16((__mmask32)words[i][word], w);
        s[i].chain[chain] = _mm512_dpbf16_ps(s[i].chain[chain], (__m512bh)selected, x);
    }
}

/* Row r's total and its n gate sums. `n` is a constant where this is used. */
MGLU_INLINE void sum_bf16_row(const struct mglu_cpu_gemv *job, int32_t r, int n)
{
    const struct mglu_cpu_matrix *matrix = job->matrix;
    const int64_t row = job->first_row + r, groups = matrix->groups, pitch = mask_pitch(matrix);
    const __m512i *w = (const __m512i *)(const void *)row_from(matrix, row, 0, MGLU_DTYPE_BF16).weights;
    const __m512i *x = job->x;
    const int other = 1 + n < SUMS_THAT_NEED_CHAINS;
    const uint32_t *words[MGLU_MAX_MASKS];
    sum t = {{vec_zero(), vec_zero()}}, s[MGLU_MAX_MASKS];
    int64_t group = 0;

    MGLU_UNROLL
    for (int i = 0; i < n; i++) {
        words[i] = mask_words(matrix, row, 0) + job->mask_ids[i];
        s[i] = t;
    }
    for (; group + 1 < groups; group += 2) {
        add_group(w + group, x[group], words, group * pitch, n, 0, &t, s);
        add_group(w + group + 1, x[group + 1], words, (group + 1) * pitch, n, other, &t, s);
    }
    if (group < groups)
        add_group(w + group, x[group], words, group * pitch, n, 0, &t, s);
    job->totals[r] = sum_reduce(t);
    MGLU_UNROLL
    for (int i = 0; i < n; i++)
        job->gates[i][r] = sum_reduce(s[i]);
}

#define KERNEL_OF_COUNT(n, ...)                                                                                        \
    static void gemv_##n(const struct mglu_cpu_gemv *job)                                                              \
    {                                                                                                                  \
        for (int32_t r = 0; r < job->rows; r++)                                                                        \
            sum_bf16_row(job, r, n);                                                                                   \
    }
#define ENTRY_OF_COUNT(n, ...) [n] = gemv_##n,

FOR_MASK_COUNTS_16(KERNEL_OF_COUNT, )

void mglu_gemv_bf16_avx512bf16(const struct mglu_cpu_gemv *job)
{
    static mglu_cpu_gemv_fn *const of_count[MGLU_MAX_MASKS + 1] = {FOR_MASK_COUNTS_16(ENTRY_OF_COUNT, )};

    of_count[job->n](job);
}
