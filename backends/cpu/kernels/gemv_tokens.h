/* SPDX-License-Identifier: MIT */
#ifndef MGLU_CPU_GEMV_TOKENS_H
#define MGLU_CPU_GEMV_TOKENS_H

#include "lanes.h"

/*
 * GEMV for several tokens at once, in the lanes and the order of gemv.c: each weight is read and converted, and each
 * mask word moved to a mask register, once for all of them. So that the sums of as many tokens as possible fit the
 * registers, a row is summed one part of its groups after the other: it is in L1 from the first part on. Rows that are
 * summed side by side share x, which several tokens read from L2.
 *
 * In all functions below `dtype`, `rows`, `n`, `tokens`, `part` and `fused` are constants where they are used.
 */

/* Sums of one part: leaves registers for a weight, x and a product. */
enum { MOST_SUMS = 28, MOST_ROWS = 4, MOST_TOKENS = MGLU_CPU_GEMV_MOST_TOKENS };

/* The sums of some rows of a call: [row][token][the total, then what each mask selects]. */
struct rows_of_tokens {
    int32_t r[MOST_ROWS];
    lanes sums[MOST_SUMS];
};

MGLU_INLINE int index_of(int row, int token, int k, int n, int tokens)
{
    return (row * tokens + token) * (1 + n) + k;
}

/*
 * The distance at which the first part prefetches a row's lines: each part prefetches half of each, so that memory is
 * read at the same rate throughout, and those of the second part must arrive before the next row begins.
 */
MGLU_INLINE uintptr_t prefetch_distance(const struct mglu_cpu_matrix *matrix)
{
    return (uintptr_t)matrix->streams.masked_prefetch + matrix->stride_bytes / VEC_PARTS;
}

/* Where a row's weights and mask words are read and prefetched for one part, and its sums. */
struct row_part {
    struct weight_row row;
    const uint32_t *words;
    uintptr_t next, next_words;
    vec sums[MOST_TOKENS][1 + VEC_MASKS];
};

MGLU_INLINE struct row_part begin_row(const struct mglu_cpu_matrix *matrix, int64_t r, mglu_dtype dtype, int n,
                                      int tokens, int part)
{
    const uintptr_t ahead = prefetch_distance(matrix), groups = (uintptr_t)matrix->groups;
    const uintptr_t words_of_group = (uintptr_t)n * sizeof(uint32_t);
    struct row_part of = {.row = row_from(matrix, r, 0, dtype), .words = mask_words(matrix, r, 0)};

    of.next = (uintptr_t)of.row.weights + ahead + (uintptr_t)part * groups * (group_bytes(dtype) / VEC_PARTS);
    of.next_words = (uintptr_t)of.words + ahead / group_bytes(dtype) * words_of_group +
                    (uintptr_t)part * groups * (words_of_group / VEC_PARTS);
    MGLU_UNROLL
    for (int t = 0; t < tokens; t++) {
        MGLU_UNROLL
        for (int k = 0; k <= n; k++)
            of.sums[t][k] = vec_zero();
    }
    return of;
}

/* Adds the products of a group's part of the columns, for all tokens. */
MGLU_INLINE void add_group(const struct mglu_cpu_gemv *jobs, struct row_part *to, int64_t group, mglu_dtype dtype,
                           int n, int tokens, int part, int fused)
{
    const uintptr_t step = group_bytes(dtype) / VEC_PARTS, words_step = (uintptr_t)n * sizeof(uint32_t) / VEC_PARTS;
    const struct weight_group weights = group_of(to->row, group, dtype);
    const vec w = load_part(&weights, part, dtype);

    prefetch_weights((const void *)to->next, step, (size_t)group * step);
    if (n > 0)
        prefetch_weights((const void *)to->next_words, words_step, (size_t)group * words_step);
    MGLU_UNROLL
    for (int t = 0; t < tokens; t++) {
        const float *x = (const float *)jobs[t].x + group * MGLU_GROUP_COLUMNS + part * VEC_LANES;
        const vec p = !fused ? vec_mul(w, vec_load_f32(x)) : n > 0 ? vec_load_f32_once(x) : vec_load_f32(x);
        to->sums[t][0] = fused ? vec_fma(w, p, to->sums[t][0]) : vec_add(to->sums[t][0], p);
        MGLU_UNROLL
        for (int m = 0; m < n; m++) {
            const uint32_t *word = to->words + group * n + m;
            vec *sum = &to->sums[t][1 + m];
            *sum = fused ? vec_fma_masked(w, p, *sum, word, part) : vec_add_masked(*sum, p, word, part);
        }
    }
}

/* Adds one part of all groups. */
MGLU_SPECIALISED void sum_part(const struct mglu_cpu_gemv *jobs, mglu_dtype dtype, int rows, int n, int tokens,
                               int part, int fused, struct rows_of_tokens *to)
{
    const struct mglu_cpu_matrix *matrix = jobs->matrix;
    struct row_part of[MOST_ROWS];

    MGLU_UNROLL
    for (int i = 0; i < rows; i++)
        of[i] = begin_row(matrix, jobs->first_row + to->r[i], dtype, n, tokens, part);
    for (int64_t group = 0; group < matrix->groups; group++) {
        MGLU_UNROLL
        for (int i = 0; i < rows; i++)
            add_group(jobs, &of[i], group, dtype, n, tokens, part, fused);
    }
    for (int i = 0; i < rows; i++)
        for (int t = 0; t < tokens; t++)
            for (int k = 0; k <= n; k++)
                to->sums[index_of(i, t, k, n, tokens)].part[part] = of[i].sums[t][k];
}

/* One function for all numbers: compilers would unroll it in each kernel. */
static __attribute__((noinline)) void store_sums(const struct mglu_cpu_gemv *jobs, int rows,
                                                 const struct rows_of_tokens *from)
{
    for (int i = 0; i < rows; i++)
        for (int t = 0; t < jobs->tokens; t++) {
            const lanes *sums = from->sums + index_of(i, t, 0, jobs->n, jobs->tokens);
            const int32_t r = from->r[i];
            jobs[t].totals[r] = lanes_reduce(sums[0]);
            for (int m = 0; m < jobs->n; m++)
                jobs[t].gates[m][r] = lanes_reduce(sums[1 + m]);
        }
}

/*
 * As many rows side by side as registers allow, without masks four, with masks two, an equal part of all rows apart.
 * Some at the end are summed twice where that is not a whole number.
 */
MGLU_INLINE void sum_matrix(const struct mglu_cpu_gemv *jobs, mglu_dtype dtype, int n, int tokens, int fused)
{
    const int most = n == 0 ? MOST_ROWS : MOST_ROWS / 2, rows = most * tokens * (1 + n) <= MOST_SUMS ? most : 1;
    const int32_t apart = (jobs->rows + rows - 1) / rows, last = jobs->rows - 1;
    struct rows_of_tokens of_rows;

    for (int32_t r = 0; r < apart; r++) {
        for (int i = 0; i < rows; i++)
            of_rows.r[i] = r + i * apart < last ? r + i * apart : last;
        MGLU_UNROLL
        for (int part = 0; part < VEC_PARTS; part++)
            sum_part(jobs, dtype, rows, n, tokens, part, fused, &of_rows);
        store_sums(jobs, rows, &of_rows);
    }
}

#endif
