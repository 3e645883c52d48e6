/* SPDX-License-Identifier: MIT */
#ifndef MGLU_CPU_GEMV_INT8_H
#define MGLU_CPU_GEMV_INT8_H

/*
 * GEMV of integers: quantised weights with x quantised to 8 bits, for layers that allow it (accuracy class C).
 *
 * Within a group of 32 columns, products and their sums are exact. A register's sums are converted to floats,
 * multiplied by the scale of the group's weights times that of its x, and added to those of the previous groups.
 * Without masks, even and odd registers have separate chains of additions, to hide their latency. So a sum depends on
 * its row, its mask and x alone, not on the other masks or tokens, except that unmasked sums use two chains.
 *
 * A row is summed in blocks of groups. More masks than fit in registers need two passes over a block; the second reads
 * it from L1.
 *
 * Each dtype has a file of its own, as a single one would take too long to compile. It defines load_quants, which loads
 * a register of weights from one of a row's groups on, before it includes this.
 *
 * What a bytes_<isa>.h defines: bytes, BYTE_GROUPS (groups in a register); for the first `groups` of them, the others
 * being zeros, bytes_load, bytes_load_nibbles (low nibbles of a group first, then high ones, less 8; unless
 * BYTES_HALVES is defined, see gemv_nibbles.h), and bytes_select, which selects the bytes whose bits are set in the
 * groups' mask words; bytes_magnitude and bytes_signed, such that
 * bytes_dot(bytes_magnitude(w), bytes_signed(x, w)) has products of w and x, and has them of a part of w where the
 * other bytes of the magnitude are zeros; and bytes_broadcast_scales.
 */

#include "int8_kernels.h"

/* Rows without masks that are summed side by side: by registers of one group and of two. */
enum { CHAINS = 2, ROWS_AT_ONCE = BYTE_GROUPS == 1 ? 4 : 2 };

/* The sums of one token. */
struct sums {
    vec total[CHAINS], gates[MGLU_MAX_MASKS];
};

/* The addresses of a block's weights, mask words and each token's x, and the products of their scales. */
struct block {
    int64_t groups;
    const char *weights;
    const uint32_t *words; /* of the first group; the next group's are `pitch` words later */
    int64_t pitch;
    const int32_t *mask_ids; /* with has_ids; else all masks, in their order */
    const char *x[MGLU_CPU_INT8_MOST_TOKENS];
    const float *scales[MGLU_CPU_INT8_MOST_TOKENS];
};

/* The i-th mask's selection from a register. */
MGLU_INLINE bytes select_quants(const struct block *block, int64_t group, bytes magnitude, int i, struct shape shape,
                                int groups)
{
    const int32_t mask = shape.has_ids ? block->mask_ids[i] : i;

    return bytes_select(magnitude, block->words + group * block->pitch + mask, block->pitch, groups);
}

/*
 * Adds a register's groups to the sums. With several tokens, the masks' selections are computed once and held in
 * registers; with one token that would only cost registers.
 */
MGLU_INLINE void add_groups(const struct block *block, int64_t group, struct shape shape, int groups, int chain,
                            struct sums *sums)
{
    const bytes w = load_quants(block->weights, group, groups), magnitude = bytes_magnitude(w);
    const int kept = shape.tokens > 1 ? shape.n : 0;
    bytes selected[MGLU_MAX_MASKS];

    MGLU_UNROLL
    for (int i = 0; i < kept; i++)
        selected[i] = select_quants(block, group, magnitude, i, shape, groups);
    MGLU_UNROLL
    for (int t = 0; t < shape.tokens; t++) {
        const bytes x = bytes_signed(bytes_load(block->x[t] + group * MGLU_GROUP_COLUMNS, BYTE_GROUPS), w);
        const vec scale = bytes_broadcast_scales(block->scales[t] + group);
        sums[t].total[chain] = vec_fma(bytes_dot(magnitude, x), scale, sums[t].total[chain]);
        MGLU_UNROLL
        for (int i = 0; i < shape.n; i++) {
            const bytes part = kept ? selected[i] : select_quants(block, group, magnitude, i, shape, groups);
            sums[t].gates[i] = vec_fma(bytes_dot(part, x), scale, sums[t].gates[i]);
        }
    }
}

/* Adds a block to the sums. */
MGLU_INLINE void add_block(const struct block *block, struct shape shape, struct sums *sums)
{
    const int64_t words_ahead = INT8_PREFETCH / (int64_t)group_bytes(shape.dtype) * block->pitch;
    const int other = shape.n == 0;
    int64_t group = 0;

    for (; group + 2 * BYTE_GROUPS <= block->groups; group += 2 * BYTE_GROUPS) {
        prefetch_weights(block->weights + (size_t)group * group_bytes(shape.dtype),
                         2 * BYTE_GROUPS * group_bytes(shape.dtype), INT8_PREFETCH);
        if (shape.n > 0)
            prefetch_weights(block->words + group * block->pitch,
                             2 * BYTE_GROUPS * (size_t)shape.n * sizeof *block->words,
                             (size_t)words_ahead * sizeof *block->words);
        add_groups(block, group, shape, BYTE_GROUPS, 0, sums);
        add_groups(block, group + BYTE_GROUPS, shape, BYTE_GROUPS, other, sums);
    }
    if (group + BYTE_GROUPS <= block->groups) {
        add_groups(block, group, shape, BYTE_GROUPS, 0, sums);
        group += BYTE_GROUPS;
    }
    if (group < block->groups)
        add_groups(block, group, shape, 1, other, sums);
}

MGLU_INLINE struct sums zero_sums(int n)
{
    struct sums sums;

    for (int chain = 0; chain < CHAINS; chain++)
        sums.total[chain] = vec_zero();
    MGLU_UNROLL
    for (int i = 0; i < n; i++)
        sums.gates[i] = vec_zero();
    return sums;
}

/* Row r for all tokens. */
MGLU_INLINE void sum_row(const struct mglu_cpu_gemv *jobs, int32_t r, struct shape shape)
{
    const struct mglu_cpu_matrix *matrix = jobs->matrix;
    const int64_t row = jobs->first_row + r, groups = matrix->groups;
    float products[MGLU_CPU_INT8_MOST_TOKENS][BLOCK_GROUPS + VEC_LANES];
    struct sums sums[MGLU_CPU_INT8_MOST_TOKENS];
    struct block block = {.mask_ids = jobs->mask_ids, .pitch = shape.has_ids ? mask_pitch(matrix) : shape.n};

    MGLU_UNROLL
    for (int t = 0; t < shape.tokens; t++)
        sums[t] = zero_sums(shape.n);
    for (int64_t group = 0; group < groups; group += BLOCK_GROUPS) {
        const struct weight_row weights = row_from(matrix, row, group, shape.dtype);
        block.groups = groups - group < BLOCK_GROUPS ? groups - group : BLOCK_GROUPS;
        block.weights = weights.weights;
        block.words = mask_words(matrix, row, group);
        MGLU_UNROLL
        for (int t = 0; t < shape.tokens; t++) {
            block.x[t] = mglu_cpu_quants(jobs[t].x, groups) + group * MGLU_GROUP_COLUMNS;
            block.scales[t] = products[t];
            multiply_scales(weights.scales, (const float *)jobs[t].x + group, block.groups, products[t]);
        }
        add_block(&block, shape, sums);
    }
    MGLU_UNROLL
    for (int t = 0; t < shape.tokens; t++) {
        jobs[t].totals[r] = vec_reduce(vec_add(sums[t].total[0], sums[t].total[1]));
        for (int i = 0; i < shape.n; i++)
            jobs[t].gates[i][r] = vec_reduce(sums[t].gates[i]);
    }
}

/* Adds the first `groups` of a register of each of ROWS_AT_ONCE rows. */
MGLU_INLINE void add_plain(const char *const *weights, const char *x, float (*products)[BLOCK_GROUPS + VEC_LANES],
                           int64_t group, mglu_dtype dtype, int groups, int chain, size_t ahead, vec (*totals)[CHAINS])
{
    const bytes of_x = bytes_load(x + group * MGLU_GROUP_COLUMNS, BYTE_GROUPS);

    MGLU_UNROLL
    for (int i = 0; i < ROWS_AT_ONCE; i++) {
        const bytes w = load_quants(weights[i], group, groups);
        prefetch_weights(weights[i] + (size_t)group * group_bytes(dtype), BYTE_GROUPS * group_bytes(dtype), ahead);
        totals[i][chain] = vec_fma(bytes_dot(bytes_magnitude(w), bytes_signed(of_x, w)),
                                   bytes_broadcast_scales(products[i] + group), totals[i][chain]);
    }
}

/* The totals of ROWS_AT_ONCE rows, `apart` rows from each other, as sum_row() makes them. */
MGLU_INLINE void sum_plain_rows(const struct mglu_cpu_gemv *job, int32_t r, int32_t apart, mglu_dtype dtype)
{
    const int64_t groups = job->matrix->groups;
    const size_t ahead = (size_t)job->matrix->streams.plain_prefetch;
    float products[ROWS_AT_ONCE][BLOCK_GROUPS + VEC_LANES];
    const char *weights[ROWS_AT_ONCE];
    vec totals[ROWS_AT_ONCE][CHAINS];

    for (int i = 0; i < ROWS_AT_ONCE; i++)
        totals[i][0] = totals[i][1] = vec_zero();
    for (int64_t first = 0; first < groups; first += BLOCK_GROUPS) {
        const int64_t count = groups - first < BLOCK_GROUPS ? groups - first : BLOCK_GROUPS;
        const char *x = mglu_cpu_quants(job->x, groups) + first * MGLU_GROUP_COLUMNS;
        int64_t group = 0;
        MGLU_UNROLL
        for (int i = 0; i < ROWS_AT_ONCE; i++) {
            const struct weight_row row = row_from(job->matrix, job->first_row + r + i * apart, first, dtype);
            weights[i] = row.weights;
            multiply_scales(row.scales, (const float *)job->x + first, count, products[i]);
        }
        for (; group + CHAINS * BYTE_GROUPS <= count; group += CHAINS * BYTE_GROUPS) {
            add_plain(weights, x, products, group, dtype, BYTE_GROUPS, 0, ahead, totals);
            add_plain(weights, x, products, group + BYTE_GROUPS, dtype, BYTE_GROUPS, 1, ahead, totals);
        }
        if (group + BYTE_GROUPS <= count) {
            add_plain(weights, x, products, group, dtype, BYTE_GROUPS, 0, ahead, totals);
            group += BYTE_GROUPS;
        }
        if (group < count)
            add_plain(weights, x, products, group, dtype, 1, 1, ahead, totals);
    }
    for (int i = 0; i < ROWS_AT_ONCE; i++)
        job->totals[r + i * apart] = vec_reduce(vec_add(totals[i][0], totals[i][1]));
}

/*
 * Whether the machine reads several such rows faster than one: with large registers two. In rows shorter than the
 * prefetch distance, what is prefetched at their ends are rows that are summed at another time. With small registers
 * rows of just that length were slower too (docs/tried.md).
 */
MGLU_INLINE int reads_several(const struct mglu_cpu_matrix *matrix)
{
    const int32_t rows = matrix->streams.plain_rows;
    const size_t ahead = (size_t)matrix->streams.plain_prefetch, stride = matrix->stride_bytes;

    return BYTE_GROUPS == 1 ? rows > 1 && stride > ahead : rows == ROWS_AT_ONCE && stride >= ahead;
}

/* One call. Rows without masks are summed side by side for one token. */
MGLU_INLINE void sum_matrix(const struct mglu_cpu_gemv *jobs, struct shape shape)
{
    const int side_by_side = shape.n == 0 && shape.tokens == 1 && reads_several(jobs->matrix);
    const int32_t apart = side_by_side ? jobs->rows / ROWS_AT_ONCE : 0;

    for (int32_t r = 0; r < apart; r++)
        sum_plain_rows(jobs, r, apart, shape.dtype);
    for (int32_t r = apart * ROWS_AT_ONCE; r < jobs->rows; r++)
        sum_row(jobs, r, shape);
}

#endif
