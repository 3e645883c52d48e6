/* SPDX-License-Identifier: MIT */
#include "for_mask_count.h"
#include "weights.h"

/*
 * GEMV of bf16 in AVX-512 BF16. vdpbf16ps multiplies and adds pairs of bf16: half the work, but in another summation
 * order and flushing subnormals, so reproducible layers do not use it. All sums are in registers. With few sums, each
 * uses two chains of additions to hide the latency; many hide each other's. So a sum depends on the number of masks
 * too, but not on how many rows are summed side by side.
 */

enum { CHAINS = 2, SUMS_THAT_NEED_CHAINS = 4, MOST_ROWS = 4 };

/* In all functions below `rows`, `n` and `chain` are constants where they are used. */

struct sums {
    vec total[CHAINS], gates[MGLU_MAX_MASKS][CHAINS];
};

/* The addresses of a row's weights, and of the mask words of its next group. */
struct row {
    const char *weights;
    const uint32_t *words;
};

/* Adds the products of one group to the total and to n gate sums. */
MGLU_INLINE void add_group(const struct row *row, int64_t group, __m512i columns, const int64_t *mask_ids, int n,
                           int chain, struct sums *sums)
{
    const __m512i w = _mm512_loadu_si512(row->weights + group * (int64_t)sizeof(__m512i));
    const __m512bh x = (__m512bh)columns;

    sums->total[chain] = _mm512_dpbf16_ps(sums->total[chain], (__m512bh)w, x);
    MGLU_UNROLL
    for (int i = 0; i < n; i++) {
        __m512i selected = _mm512_maskz_mov_epi16((__mmask32)row->words[mask_ids[i]], w);
        sums->gates[i][chain] = _mm512_dpbf16_ps(sums->gates[i][chain], (__m512bh)selected, x);
    }
}

/* Adds one group of all rows. */
MGLU_INLINE void add_groups(const struct mglu_cpu_gemv *job, struct row *row, int64_t group, const int64_t *mask_ids,
                            int rows, int n, int chain, struct sums *sums)
{
    const struct mglu_cpu_matrix *matrix = job->matrix;
    const size_t ahead = (size_t)(n > 0 ? matrix->streams.masked_prefetch : matrix->streams.plain_prefetch);
    const int64_t pitch = mask_pitch(matrix), words_ahead = (int64_t)(ahead / sizeof(__m512i)) * pitch;
    const __m512i columns = ((const __m512i *)job->x)[group];

    MGLU_UNROLL
    for (int i = 0; i < rows; i++) {
        prefetch_weights(row[i].weights + group * (int64_t)sizeof columns, sizeof columns, ahead);
        if (n > 0)
            prefetch_words(row[i].words, words_ahead);
        add_group(&row[i], group, columns, mask_ids, n, chain, &sums[i]);
        row[i].words += pitch;
    }
}

MGLU_INLINE struct sums zero_sums(int n)
{
    struct sums sums;

    for (int chain = 0; chain < CHAINS; chain++)
        sums.total[chain] = vec_zero();
    MGLU_UNROLL
    for (int i = 0; i < n; i++)
        sums.gates[i][0] = sums.gates[i][1] = vec_zero();
    return sums;
}

MGLU_INLINE float reduce(const vec *chains)
{
    return vec_reduce(vec_add(chains[0], chains[1]));
}

/* The totals and the n gate sums of rows r, r + apart, ... */
MGLU_INLINE void sum_rows(const struct mglu_cpu_gemv *job, int32_t r, int32_t apart, int rows, int n)
{
    const int64_t groups = job->matrix->groups;
    const int other = 1 + n < SUMS_THAT_NEED_CHAINS;
    int64_t mask_ids[MGLU_MAX_MASKS], group = 0;
    struct row row[MOST_ROWS];
    struct sums sums[MOST_ROWS];

    MGLU_UNROLL
    for (int i = 0; i < n; i++)
        mask_ids[i] = job->mask_ids[i];
    MGLU_UNROLL
    for (int i = 0; i < rows; i++) {
        const int64_t at = job->first_row + r + i * apart;
        row[i].weights = row_from(job->matrix, at, 0, MGLU_DTYPE_BF16).weights;
        row[i].words = mask_words(job->matrix, at, 0);
        sums[i] = zero_sums(n);
    }
    for (; group + 1 < groups; group += 2) {
        add_groups(job, row, group, mask_ids, rows, n, 0, sums);
        add_groups(job, row, group + 1, mask_ids, rows, n, other, sums);
    }
    if (group < groups)
        add_groups(job, row, group, mask_ids, rows, n, 0, sums);
    for (int k = 0; k < rows; k++) {
        job->totals[r + k * apart] = reduce(sums[k].total);
        MGLU_UNROLL
        for (int i = 0; i < n; i++)
            job->gates[i][r + k * apart] = reduce(sums[k].gates[i]);
    }
}

/* One call. Rows without masks are summed side by side where the machine reads several streams faster than one. */
MGLU_INLINE void sum_matrix(const struct mglu_cpu_gemv *job, int n)
{
    const int32_t apart = n == 0 && job->matrix->streams.plain_rows > 1 ? job->rows / MOST_ROWS : 0;

    for (int32_t r = 0; r < apart; r++)
        sum_rows(job, r, apart, MOST_ROWS, n);
    for (int32_t r = apart * MOST_ROWS; r < job->rows; r++)
        sum_rows(job, r, 0, 1, n);
}

#define KERNEL_OF_COUNT(n, ...)                                                                                        \
    static void gemv_##n(const struct mglu_cpu_gemv *job)                                                              \
    {                                                                                                                  \
        sum_matrix(job, n);                                                                                            \
    }
#define ENTRY_OF_COUNT(n, ...) [n] = gemv_##n,

FOR_MASK_COUNTS_16(KERNEL_OF_COUNT, )

void mglu_gemv_bf16_avx512bf16(const struct mglu_cpu_gemv *job)
{
    static mglu_cpu_gemv_fn *const of_count[MGLU_MAX_MASKS + 1] = {FOR_MASK_COUNTS_16(ENTRY_OF_COUNT, )};

    of_count[job->n](job);
}
