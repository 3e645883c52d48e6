/* SPDX-License-Identifier: MIT */
#include "for_mask_count.h"
#include "lanes.h"

/*
 * GEMV for two or three tokens at once, with the bits of gemv.c: each weight is read and converted, and each mask word
 * moved to a mask register, once for all of them. So that the sums of three tokens with eight masks fit the registers,
 * a row is summed one part of its groups after the other: it is in L1 from the first part on.
 *
 * Rows without masks are summed four at a time, so that x, which three tokens read from L2, is read once for these.
 */

enum { MOST_TOKENS = MGLU_CPU_GEMV_MOST_TOKENS, MOST_ROWS = 4 };

/* In all functions below `dtype`, `rows`, `n`, `tokens` and `part` are constants where they are used. */

/* The sums of rows, each for tokens: the total, then what each mask selects. */
typedef lanes row_sums[MOST_ROWS][MOST_TOKENS][1 + VEC_MASKS];

/* Adds one part of all groups. There is more than one row only without masks. */
MGLU_INLINE void sum_part(const struct mglu_cpu_gemv *jobs, int32_t r, mglu_dtype dtype, int rows, int n, int tokens,
                          int part, row_sums sums)
{
    const struct mglu_cpu_matrix *matrix = jobs->matrix;
    const int64_t first = jobs->first_row + r, pitch = mask_pitch(matrix);
    struct weight_row row[MOST_ROWS];
    const size_t ahead = (size_t)matrix->streams.masked_prefetch;
    const int64_t words_ahead = (int64_t)(ahead / group_bytes(dtype)) * pitch;
    const uint32_t *words[VEC_MASKS];
    vec s[MOST_ROWS][MOST_TOKENS][1 + VEC_MASKS];

    MGLU_UNROLL
    for (int m = 0; m < n; m++)
        words[m] = mask_words(matrix, first, 0) + jobs->mask_ids[m];
    MGLU_UNROLL
    for (int i = 0; i < rows; i++) {
        row[i] = row_from(matrix, first + i, 0, dtype);
        MGLU_UNROLL
        for (int t = 0; t < tokens; t++) {
            MGLU_UNROLL
            for (int k = 0; k <= n; k++)
                s[i][t][k] = vec_zero();
        }
    }
    for (int64_t group = 0; group < matrix->groups; group++) {
        MGLU_UNROLL
        for (int i = 0; i < rows; i++) {
            const struct weight_group weights = group_of(row[i], group, dtype);
            const vec w = load_part(&weights, part, dtype);
            if (part == 0)
                prefetch_weights(weights.weights, group_bytes(dtype), ahead);
            if (part == 0 && n > 0)
                prefetch_words(words[0] + group * pitch, words_ahead);
            MGLU_UNROLL
            for (int t = 0; t < tokens; t++) {
                const float *x = (const float *)jobs[t].x + group * MGLU_GROUP_COLUMNS + part * VEC_LANES;
                const vec p = vec_mul(w, vec_load_f32(x));
                s[i][t][0] = vec_add(s[i][t][0], p);
                MGLU_UNROLL
                for (int m = 0; m < n; m++)
                    s[i][t][1 + m] = vec_add_masked(s[i][t][1 + m], p, words[m] + group * pitch, part);
            }
        }
    }
    for (int i = 0; i < rows; i++)
        for (int t = 0; t < tokens; t++)
            for (int k = 0; k <= n; k++)
                sums[i][t][k].part[part] = s[i][t][k];
}

/* One function for all numbers: compilers would unroll it in each kernel. */
static void store_sums(const struct mglu_cpu_gemv *jobs, int32_t r, int rows, row_sums sums)
{
    for (int i = 0; i < rows; i++)
        for (int t = 0; t < jobs->tokens; t++) {
            jobs[t].totals[r + i] = lanes_reduce(sums[i][t][0]);
            for (int m = 0; m < jobs->n; m++)
                jobs[t].gates[m][r + i] = lanes_reduce(sums[i][t][1 + m]);
        }
}

MGLU_INLINE void sum_rows(const struct mglu_cpu_gemv *jobs, int32_t r, mglu_dtype dtype, int rows, int n, int tokens)
{
    row_sums sums;

    MGLU_UNROLL
    for (int part = 0; part < VEC_PARTS; part++)
        sum_part(jobs, r, dtype, rows, n, tokens, part, sums);
    store_sums(jobs, r, rows, sums);
}

MGLU_INLINE void sum_matrix(const struct mglu_cpu_gemv *jobs, mglu_dtype dtype, int n, int tokens)
{
    int32_t r = 0;

    for (; n == 0 && r + MOST_ROWS <= jobs->rows; r += MOST_ROWS)
        sum_rows(jobs, r, dtype, MOST_ROWS, 0, tokens);
    for (; r < jobs->rows; r++)
        sum_rows(jobs, r, dtype, 1, n, tokens);
}

/* Functions for each number of masks, and one that selects one of them. */
#define KERNELS_OF_COUNT(n, type, TYPE)                                                                                \
    static void two_##type##_##n(const struct mglu_cpu_gemv *jobs)                                                     \
    {                                                                                                                  \
        sum_matrix(jobs, MGLU_DTYPE_##TYPE, n, 2);                                                                     \
    }                                                                                                                  \
    static void three_##type##_##n(const struct mglu_cpu_gemv *jobs)                                                   \
    {                                                                                                                  \
        sum_matrix(jobs, MGLU_DTYPE_##TYPE, n, 3);                                                                     \
    }
#define ENTRIES_OF_COUNT(n, type, TYPE) [n] = {two_##type##_##n, three_##type##_##n},
#define KERNELS_OF_DTYPE(type, TYPE)                                                                                   \
    VEC_FOR_MASK_COUNTS(KERNELS_OF_COUNT, type, TYPE)                                                                  \
    static void tokens_##type(const struct mglu_cpu_gemv *jobs)                                                        \
    {                                                                                                                  \
        static mglu_cpu_gemv_fn *const of_count[][2] = {VEC_FOR_MASK_COUNTS(ENTRIES_OF_COUNT, type, TYPE)};            \
        of_count[jobs->n][jobs->tokens - 2](jobs);                                                                     \
    }

KERNELS_OF_DTYPE(f32, F32)
KERNELS_OF_DTYPE(f16, F16)
KERNELS_OF_DTYPE(bf16, BF16)
KERNELS_OF_DTYPE(q8_0, Q8_0)
KERNELS_OF_DTYPE(q4_0, Q4_0)

const struct mglu_cpu_gemv_tokens KERNEL(gemv_tokens) = {
    .most_masks = VEC_MASKS,
    .gemv = {[MGLU_DTYPE_F32] = tokens_f32,
             [MGLU_DTYPE_F16] = tokens_f16,
             [MGLU_DTYPE_BF16] = tokens_bf16,
             [MGLU_DTYPE_Q8_0] = tokens_q8_0,
             [MGLU_DTYPE_Q4_0] = tokens_q4_0},
};
