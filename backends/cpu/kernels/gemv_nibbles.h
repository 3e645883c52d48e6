/* SPDX-License-Identifier: MIT */
#ifndef MGLU_CPU_GEMV_NIBBLES_H
#define MGLU_CPU_GEMV_NIBBLES_H

/*
 * GEMV of q4_0 with x quantised to 8 bits, in AVX2. A nibble is multiplied without being moved to the place of its
 * column: a register has the low nibbles of two groups, columns 0 to 15 of each, another the high ones, columns 16 to
 * 31, and x is put into the same order, once for all rows that are summed side by side. Without masks nibbles are
 * multiplied as they are, without sign: a sum begins with -8 times the sum of its x, as a weight is its nibble less 8.
 * With masks weights have the signs of x, so that what a mask does not select is 0.
 *
 * So four lanes have the sum of a group, exact. They are converted to floats, multiplied by the scale of the group's
 * weights times that of its x, and added to those of the previous groups. A sum depends on its row, its mask and x
 * alone.
 *
 * bytes_avx2madd.h and bytes_avxvnni.h have the products: halves_start(x), and halves_dot(start, nibbles, x).
 */

#include "int8_kernels.h"

/* Rows side by side: short ones for one token; long ones, and for several tokens; with up to so many masks. */
enum { STEP_GROUPS = 2, LINE_GROUPS = 4, SHORT_ROWS = 4, LONG_ROWS = 2, MOST_MASKS_OF_TWO_ROWS = 4 };

enum { MOST_TOKENS = MGLU_CPU_INT8_MOST_TOKENS };

/* In the functions below `rows`, `shape` and `groups` are constants where they are used. */

/* Some rows: which ones, from the job's first on, and at what distance in bytes their weights are prefetched. */
struct nibble_rows {
    int32_t r[SHORT_ROWS];
    size_t ahead;
};

/* A block of groups of these rows: the first group, the weights and mask words from there on, the products of scales.
 */
struct nibble_block {
    int64_t first_group;
    const char *weights[SHORT_ROWS];
    const uint32_t *words[SHORT_ROWS];
    int64_t pitch;
    float products[SHORT_ROWS][MOST_TOKENS][BLOCK_GROUPS + VEC_LANES];
};

/* The sums of a row for a token: of the whole row, and what each mask selects. */
typedef vec row_sums[1 + MGLU_MAX_MASKS];

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
    const vec both = _mm256_castsi256_ps(_mm256_broadcastq_epi64(_mm_loadu_si64(scales)));

    return _mm256_permutevar_ps(both, _mm256_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1));
}

MGLU_INLINE struct halves load_x(const struct mglu_cpu_gemv *job, const struct nibble_block *block, int64_t group,
                                 int groups)
{
    const char *quants = mglu_cpu_quants(job->x, job->matrix->groups);

    return load_halves(quants + (block->first_group + group) * MGLU_GROUP_COLUMNS, groups);
}

/* Adds a step to the sums of each row and token, from this group of the block on. */
MGLU_INLINE void add_nibbles(const struct mglu_cpu_gemv *jobs, const struct nibble_block *block, int64_t group,
                             int rows, struct shape shape, int groups, row_sums (*sums)[MOST_TOKENS])
{
    struct halves w[SHORT_ROWS];

    MGLU_UNROLL
    for (int i = 0; i < rows; i++)
        w[i] = load_nibbles(block->weights[i] + group * MGLU_Q4_0_GROUP_BYTES, groups);
    MGLU_UNROLL
    for (int t = 0; t < shape.tokens; t++) {
        const struct halves x = load_x(&jobs[t], block, group, groups);
        const bytes start = halves_start(x);
        MGLU_UNROLL
        for (int i = 0; i < rows; i++) {
            const vec scale = broadcast_two_scales(block->products[i][t] + group);
            sums[i][t][0] = vec_fma(halves_dot(start, w[i], x), scale, sums[i][t][0]);
        }
    }
}

MGLU_INLINE struct halves sign_halves(struct halves w, struct halves x)
{
    return (struct halves){_mm256_sign_epi8(w.low, x.low), _mm256_sign_epi8(w.high, x.high)};
}

MGLU_INLINE struct halves load_weights(const char *weights, int groups)
{
    const struct halves nibbles = load_nibbles(weights, groups);
    const bytes eights = _mm256_set1_epi8(8);

    return (struct halves){_mm256_sub_epi8(nibbles.low, eights), _mm256_sub_epi8(nibbles.high, eights)};
}

/* v where these bytes of the words, one for eight lanes, have a 1, else 0. */
MGLU_INLINE bytes select_columns(bytes v, bytes words, bytes byte_of_lane)
{
    const bytes bit_of_lane = _mm256_set1_epi64x((long long)0x8040201008040201);
    const bytes bits = _mm256_and_si256(_mm256_shuffle_epi8(words, byte_of_lane), bit_of_lane);

    return _mm256_and_si256(v, _mm256_cmpeq_epi8(bits, bit_of_lane));
}

/* Whether the words of a step of all masks are a register, or its parts repeat them. */
MGLU_INLINE int fill_a_register(struct shape shape, int groups)
{
    return !shape.has_ids && groups == STEP_GROUPS && (shape.n == 1 || shape.n == 2 || shape.n == 4);
}

/* The i-th mask's words of a step, for the halves of a register: with those of all masks, or alone. */
MGLU_INLINE bytes load_words(const uint32_t *of_group, int64_t pitch, int32_t mask, struct shape shape, int groups)
{
    if (!fill_a_register(shape, groups)) {
        const bytes first = _mm256_set1_epi32((int)of_group[mask]);
        return groups < STEP_GROUPS ? first
                                    : _mm256_blend_epi32(first, _mm256_set1_epi32((int)of_group[pitch + mask]), 0xf0);
    }
    if (shape.n == 1)
        return _mm256_broadcastq_epi64(_mm_loadu_si64(of_group));
    if (shape.n == 2)
        return _mm256_broadcastsi128_si256(_mm_loadu_si128((const void *)of_group));
    return _mm256_loadu_si256((const void *)of_group);
}

/* Eight lanes with byte `first` of the words, and eight with the next; in the upper half from `second` on. */
MGLU_INLINE bytes bytes_of_lanes(int first, int second)
{
    const long long each = 0x0101010101010101;

    return _mm256_setr_epi64x(each * first, each * (first + 1), each * second, each * (second + 1));
}

/* The i-th mask's selection from row `row`: of a group's word one half for each of w's registers. */
MGLU_INLINE struct halves select_halves(const struct mglu_cpu_gemv *job, const struct nibble_block *block, int row,
                                        int64_t group, struct halves w, int i, struct shape shape, int groups)
{
    const int32_t mask = shape.has_ids ? job->mask_ids[i] : i;
    const bytes words = load_words(block->words[row] + group * block->pitch, block->pitch, mask, shape, groups);
    const int fill = fill_a_register(shape, groups), first = fill ? 4 * i : 0;
    const int second = fill && shape.n < 4 ? first + 4 * shape.n : first;

    return (struct halves){select_columns(w.low, words, bytes_of_lanes(first, second)),
                           select_columns(w.high, words, bytes_of_lanes(first + 2, second + 2))};
}

/* The same as add_nibbles() with masks. What they select is computed once for several tokens, whose x has other signs.
 */
MGLU_INLINE void add_masked(const struct mglu_cpu_gemv *jobs, const struct nibble_block *block, int64_t group, int row,
                            struct shape shape, int groups, row_sums *sums)
{
    const struct halves w = load_weights(block->weights[row] + group * MGLU_Q4_0_GROUP_BYTES, groups);
    const int kept = shape.tokens > 1 ? shape.n : 0;
    const bytes zero = _mm256_setzero_si256();
    struct halves selected[MGLU_MAX_MASKS];

    MGLU_UNROLL
    for (int i = 0; i < kept; i++)
        selected[i] = select_halves(jobs, block, row, group, w, i, shape, groups);
    MGLU_UNROLL
    for (int t = 0; t < shape.tokens; t++) {
        const struct halves x = load_x(&jobs[t], block, group, groups), signed_w = sign_halves(w, x);
        const struct halves magnitude = {_mm256_abs_epi8(x.low), _mm256_abs_epi8(x.high)};
        const vec scale = broadcast_two_scales(block->products[row][t] + group);
        sums[t][0] = vec_fma(halves_dot(zero, magnitude, signed_w), scale, sums[t][0]);
        MGLU_UNROLL
        for (int i = 0; i < shape.n; i++) {
            const struct halves part =
                kept ? sign_halves(selected[i], x) : select_halves(jobs, block, row, group, signed_w, i, shape, groups);
            sums[t][1 + i] = vec_fma(halves_dot(zero, magnitude, part), scale, sums[t][1 + i]);
        }
    }
}

MGLU_INLINE void add_step(const struct mglu_cpu_gemv *jobs, const struct nibble_block *block, int64_t group, int rows,
                          struct shape shape, int groups, row_sums (*sums)[MOST_TOKENS])
{
    if (shape.n == 0) {
        add_nibbles(jobs, block, group, rows, shape, groups, sums);
        return;
    }
    MGLU_UNROLL
    for (int i = 0; i < rows; i++)
        add_masked(jobs, block, group, i, shape, groups, sums[i]);
}

/* The weights and words behind a cache line of weights. */
MGLU_INLINE void prefetch_line(const struct nibble_block *block, int64_t group, size_t ahead, int rows,
                               struct shape shape)
{
    const size_t words = (size_t)block->pitch * sizeof(uint32_t);

    MGLU_UNROLL
    for (int i = 0; i < rows; i++) {
        prefetch_weights(block->weights[i] + group * MGLU_Q4_0_GROUP_BYTES, LINE_GROUPS * MGLU_Q4_0_GROUP_BYTES, ahead);
        if (shape.n > 0)
            prefetch_weights(block->words[i] + group * block->pitch, LINE_GROUPS * (size_t)shape.n * sizeof(uint32_t),
                             ahead / MGLU_Q4_0_GROUP_BYTES * words);
    }
}

/* Adds a block of `groups` groups. */
MGLU_INLINE void add_nibble_block(const struct mglu_cpu_gemv *jobs, const struct nibble_block *block, int64_t groups,
                                  size_t ahead, int rows, struct shape shape, row_sums (*sums)[MOST_TOKENS])
{
    int64_t group = 0;

    for (; group + LINE_GROUPS <= groups; group += LINE_GROUPS) {
        prefetch_line(block, group, ahead, rows, shape);
        add_step(jobs, block, group, rows, shape, STEP_GROUPS, sums);
        add_step(jobs, block, group + STEP_GROUPS, rows, shape, STEP_GROUPS, sums);
    }
    if (group + STEP_GROUPS <= groups) {
        add_step(jobs, block, group, rows, shape, STEP_GROUPS, sums);
        group += STEP_GROUPS;
    }
    if (group < groups)
        add_step(jobs, block, group, rows, shape, 1, sums);
}

/* A block of groups from `first` on. */
MGLU_INLINE void begin_block(const struct mglu_cpu_gemv *jobs, const struct nibble_rows *which, int64_t first,
                             int64_t groups, int rows, struct shape shape, struct nibble_block *block)
{
    const struct mglu_cpu_matrix *matrix = jobs->matrix;

    block->first_group = first;
    block->pitch = shape.has_ids ? mask_pitch(matrix) : shape.n;
    MGLU_UNROLL
    for (int i = 0; i < rows; i++) {
        const int64_t r = jobs->first_row + which->r[i];
        const struct weight_row row = row_from(matrix, r, first, MGLU_DTYPE_Q4_0);
        block->weights[i] = row.weights;
        if (shape.n > 0)
            block->words[i] = mask_words(matrix, r, first);
        MGLU_UNROLL
        for (int t = 0; t < shape.tokens; t++)
            multiply_scales(row.scales, (const float *)jobs[t].x + first, groups, block->products[i][t]);
    }
}

/* The sums of some rows. */
MGLU_INLINE void sum_nibble_rows(const struct mglu_cpu_gemv *jobs, const struct nibble_rows *which, int rows,
                                 struct shape shape)
{
    const int64_t groups = jobs->matrix->groups;
    struct nibble_block block;
    row_sums sums[SHORT_ROWS][MOST_TOKENS];

    MGLU_UNROLL
    for (int i = 0; i < rows; i++) {
        MGLU_UNROLL
        for (int t = 0; t < shape.tokens; t++) {
            MGLU_UNROLL
            for (int k = 0; k <= shape.n; k++)
                sums[i][t][k] = vec_zero();
        }
    }
    for (int64_t first = 0; first < groups; first += BLOCK_GROUPS) {
        const int64_t count = groups - first < BLOCK_GROUPS ? groups - first : BLOCK_GROUPS;
        begin_block(jobs, which, first, count, rows, shape, &block);
        add_nibble_block(jobs, &block, count, which->ahead, rows, shape, sums);
    }
    MGLU_UNROLL
    for (int i = 0; i < rows; i++) {
        MGLU_UNROLL
        for (int t = 0; t < shape.tokens; t++) {
            jobs[t].totals[which->r[i]] = vec_reduce(sums[i][t][0]);
            for (int k = 0; k < shape.n; k++)
                jobs[t].gates[k][which->r[i]] = vec_reduce(sums[i][t][1 + k]);
        }
    }
}

/*
 * All rows of a call: `rows` neighbours at a time, or where they are `apart` an equal part of all rows from each other.
 * Some at the end are summed twice where that is not a whole number.
 */
MGLU_INLINE void sum_side_by_side(const struct mglu_cpu_gemv *jobs, int apart, size_t ahead, int rows,
                                  struct shape shape)
{
    const int32_t times = (jobs->rows + rows - 1) / rows, last = jobs->rows - 1;
    struct nibble_rows which = {.ahead = ahead};

    for (int32_t time = 0; time < times; time++) {
        for (int i = 0; i < rows; i++) {
            const int32_t r = apart ? time + i * times : time * rows + i;
            which.r[i] = r < last ? r : last;
        }
        sum_nibble_rows(jobs, &which, rows, shape);
    }
}

/* Rows side by side with masks: as many as registers allow. */
MGLU_INLINE int count_rows(struct shape shape)
{
    return shape.n == 0 || (shape.tokens == 1 && shape.n <= MOST_MASKS_OF_TWO_ROWS) ? LONG_ROWS : 1;
}

/*
 * One call. Rows without masks that are longer than the machine's prefetch distance are summed apart from each other.
 * Others are read in their order, and the rows behind those that are summed are prefetched: the measured optimum is 5
 * rows ahead for 4 neighbours, 3 for 2.
 */
MGLU_INLINE void sum_matrix(const struct mglu_cpu_gemv *jobs, struct shape shape)
{
    const struct mglu_cpu_matrix *matrix = jobs->matrix;
    const size_t ahead = (size_t)matrix->streams.plain_prefetch, stride = matrix->stride_bytes;
    const int apart = shape.n == 0 && matrix->streams.plain_rows > 1 && stride > ahead, rows = count_rows(shape);

    if (shape.n == 0 && shape.tokens == 1 && !apart)
        sum_side_by_side(jobs, 0, (SHORT_ROWS + 1) * stride, SHORT_ROWS, shape);
    else
        sum_side_by_side(jobs, apart, apart || rows == 1 ? ahead : (LONG_ROWS + 1) * stride, rows, shape);
}

#endif
