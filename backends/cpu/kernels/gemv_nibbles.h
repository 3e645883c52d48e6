/* SPDX-License-Identifier: MIT */
#ifndef MGLU_CPU_GEMV_NIBBLES_H
#define MGLU_CPU_GEMV_NIBBLES_H

/*
 * GEMV of q4_0 with x quantised to 8 bits, for rows without masks, in AVX2. A nibble is multiplied as it is, without
 * sign, and without being moved to the place of its column: a register has the low nibbles of two groups, columns 0 to
 * 15 of each, another the high ones, columns 16 to 31, and x is put into the same order, once for all rows that are
 * summed side by side. A sum begins with -8 times the sum of its x, as a weight is its nibble less 8.
 *
 * So four lanes have the sum of a group, exact. They are converted to floats, multiplied by the scale of the group's
 * weights times that of its x, and added to those of the previous groups. A sum depends on its row and x alone.
 *
 * bytes_avx2madd.h and bytes_avxvnni.h have the products: halves_start(x), and halves_dot(start, nibbles, x).
 */

#include "int8_kernels.h"

/* Rows side by side: short ones for one token; long ones, and for several tokens. */
enum { STEP_GROUPS = 2, SHORT_ROWS = 4, LONG_ROWS = 2 };

enum { MOST_TOKENS = MGLU_CPU_INT8_MOST_TOKENS };

/* In the functions below `rows`, `tokens` and `groups` are constants where they are used. */

/* Some rows: which ones, from the job's first on, and at what distance in bytes their weights are prefetched. */
struct nibble_rows {
    int32_t r[SHORT_ROWS];
    size_t ahead;
};

/* A block of groups of these rows: the first group, the weights from there on, and the products of scales. */
struct nibble_block {
    int64_t first_group;
    const char *weights[SHORT_ROWS];
    float products[SHORT_ROWS][MOST_TOKENS][BLOCK_GROUPS + VEC_LANES];
};

typedef vec nibble_sums[SHORT_ROWS][MOST_TOKENS];

MGLU_INLINE struct halves load_nibbles(const char *weights, int groups)
{
    const bytes both = groups == STEP_GROUPS ? _mm256_loadu_si256((const void *)weights)
                                             : _mm256_zextsi128_si256(_mm_loadu_si128((const void *)weights));
    const bytes low = _mm256_set1_epi8(15);

    return (struct halves){_mm256_and_si256(both, low), _mm256_and_si256(_mm256_srli_epi16(both, 4), low)};
}

MGLU_INLINE struct halves load_halves(const char *x, int groups)
{
    const __m128i *from = (const void *)x;
    const bytes low = _mm256_zextsi128_si256(_mm_loadu_si128(from));
    const bytes high = _mm256_zextsi128_si256(_mm_loadu_si128(from + 1));

    if (groups < STEP_GROUPS)
        return (struct halves){low, high};
    return (struct halves){_mm256_inserti128_si256(low, _mm_loadu_si128(from + 2), 1),
                           _mm256_inserti128_si256(high, _mm_loadu_si128(from + 3), 1)};
}

/* The scales of two groups, each for half of the lanes. */
MGLU_INLINE vec broadcast_two_scales(const float *scales)
{
    const vec both = _mm256_castpd_ps(_mm256_broadcast_sd((const void *)scales));

    return _mm256_permutevar_ps(both, _mm256_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1));
}

/* Adds a step to the sums of each row and token, from this group of the block on. */
MGLU_INLINE void add_nibbles(const struct mglu_cpu_gemv *jobs, const struct nibble_block *block, int64_t group,
                             int rows, int tokens, int groups, vec (*sums)[MOST_TOKENS])
{
    struct halves w[SHORT_ROWS];

    MGLU_UNROLL
    for (int i = 0; i < rows; i++)
        w[i] = load_nibbles(block->weights[i] + group * MGLU_Q4_0_GROUP_BYTES, groups);
    MGLU_UNROLL
    for (int t = 0; t < tokens; t++) {
        const char *quants = mglu_cpu_quants(jobs[t].x, jobs->matrix->groups);
        const struct halves x = load_halves(quants + (block->first_group + group) * MGLU_GROUP_COLUMNS, groups);
        const bytes start = halves_start(x);
        MGLU_UNROLL
        for (int i = 0; i < rows; i++)
            sums[i][t] =
                vec_fma(halves_dot(start, w[i], x), broadcast_two_scales(block->products[i][t] + group), sums[i][t]);
    }
}

/* Adds a block of `groups` groups, two steps for each cache line of a row. */
MGLU_INLINE void add_nibble_block(const struct mglu_cpu_gemv *jobs, const struct nibble_block *block, int64_t groups,
                                  size_t ahead, int rows, int tokens, vec (*sums)[MOST_TOKENS])
{
    int64_t group = 0;

    for (; group + 2 * STEP_GROUPS <= groups; group += 2 * STEP_GROUPS) {
        MGLU_UNROLL
        for (int i = 0; i < rows; i++)
            prefetch_weights(block->weights[i] + group * MGLU_Q4_0_GROUP_BYTES, 2 * STEP_GROUPS * MGLU_Q4_0_GROUP_BYTES,
                             ahead);
        add_nibbles(jobs, block, group, rows, tokens, STEP_GROUPS, sums);
        add_nibbles(jobs, block, group + STEP_GROUPS, rows, tokens, STEP_GROUPS, sums);
    }
    if (group + STEP_GROUPS <= groups) {
        add_nibbles(jobs, block, group, rows, tokens, STEP_GROUPS, sums);
        group += STEP_GROUPS;
    }
    if (group < groups)
        add_nibbles(jobs, block, group, rows, tokens, 1, sums);
}

/* The totals of some rows. */
MGLU_INLINE void sum_nibble_rows(const struct mglu_cpu_gemv *jobs, const struct nibble_rows *which, int rows,
                                 int tokens)
{
    const int64_t groups = jobs->matrix->groups;
    struct nibble_block block;
    nibble_sums sums;

    MGLU_UNROLL
    for (int i = 0; i < rows; i++) {
        MGLU_UNROLL
        for (int t = 0; t < tokens; t++)
            sums[i][t] = vec_zero();
    }
    for (int64_t first = 0; first < groups; first += BLOCK_GROUPS) {
        const int64_t count = groups - first < BLOCK_GROUPS ? groups - first : BLOCK_GROUPS;
        block.first_group = first;
        MGLU_UNROLL
        for (int i = 0; i < rows; i++) {
            const struct weight_row row = row_from(jobs->matrix, jobs->first_row + which->r[i], first, MGLU_DTYPE_Q4_0);
            block.weights[i] = row.weights;
            MGLU_UNROLL
            for (int t = 0; t < tokens; t++)
                multiply_scales(row.scales, (const float *)jobs[t].x + first, count, block.products[i][t]);
        }
        add_nibble_block(jobs, &block, count, which->ahead, rows, tokens, sums);
    }
    MGLU_UNROLL
    for (int i = 0; i < rows; i++) {
        MGLU_UNROLL
        for (int t = 0; t < tokens; t++)
            jobs[t].totals[which->r[i]] = vec_reduce(sums[i][t]);
    }
}

/*
 * All rows of a call: `rows` neighbours at a time, or where they are `apart` an equal part of all rows from each other.
 * Some at the end are summed twice where that is not a whole number.
 */
MGLU_INLINE void sum_nibbles_of(const struct mglu_cpu_gemv *jobs, int apart, size_t ahead, int rows, int tokens)
{
    const int32_t times = (jobs->rows + rows - 1) / rows, last = jobs->rows - 1;
    struct nibble_rows which = {.ahead = ahead};

    for (int32_t time = 0; time < times; time++) {
        for (int i = 0; i < rows; i++) {
            const int32_t r = apart ? time + i * times : time * rows + i;
            which.r[i] = r < last ? r : last;
        }
        sum_nibble_rows(jobs, &which, rows, tokens);
    }
}

/*
 * Rows that are longer than the machine's prefetch distance are summed apart from each other. Shorter ones are read in
 * their order, and the rows behind those that are summed are prefetched: the measured optimum is 5 rows ahead for 4
 * neighbours, 3 for 2.
 */
MGLU_INLINE void sum_nibbles(const struct mglu_cpu_gemv *jobs, struct shape shape)
{
    const struct mglu_cpu_matrix *matrix = jobs->matrix;
    const size_t ahead = (size_t)matrix->streams.plain_prefetch, stride = matrix->stride_bytes;
    const int apart = matrix->streams.plain_rows > 1 && stride > ahead;

    if (shape.tokens > 1)
        sum_nibbles_of(jobs, apart, apart ? ahead : (LONG_ROWS + 1) * stride, LONG_ROWS, MOST_TOKENS);
    else if (apart)
        sum_nibbles_of(jobs, 1, ahead, LONG_ROWS, 1);
    else
        sum_nibbles_of(jobs, 0, (SHORT_ROWS + 1) * stride, SHORT_ROWS, 1);
}

#endif
