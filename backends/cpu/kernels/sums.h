/* SPDX-License-Identifier: MIT */
#ifndef MGLU_CPU_SUMS_H
#define MGLU_CPU_SUMS_H

/*
 * The sums over a row, written once over the vectors of whichever vec_<isa>.h was included before.
 *
 * A group of 32 columns goes to 32 lanes: lane j sums columns j, 32 + j, 64 + j, ... in this order, each product
 * rounded and then added, for all instruction sets alike. The lanes are then added in one fixed tree: lane j and lane
 * j + 16, then j + 8, + 4, + 2, + 1. Hence the same bits everywhere.
 *
 * A row is worked off in blocks. Its first masks pick from each product as it is made; those whose sums find no
 * registers then pick from the block's products, kept in the nearest cache, one mask after the other. So each weight is
 * read and converted once, whatever the number of masks.
 *
 * What a vec_<isa>.h defines: vec, VEC_LANES, VEC_MASKS (masks whose sums fit the registers, 1 to 16) and PLAIN_ROWS
 * (rows without masks that are read side by side) and PLAIN_AHEAD (bytes by which they are asked for ahead); vec_zero;
 * from any address vec_load_f32, vec_load_f16, vec_load_bf16, vec_load_i8 and vec_load_nibbles; vec_spread_f16,
 * vec_store_f32, vec_mul, vec_add; vec_add_masked, which adds the lanes of p that the bits of the word from part *
 * VEC_LANES on choose; vec_add_masked_at, the same with p in memory; and vec_reduce, the rest of the tree.
 */

#include "kernels.h"
#include "widen.h"

#include "common/core/mask_format.h"

enum { VEC_PARTS = MGLU_GROUP_COLUMNS / VEC_LANES, MASKS_AT_ONCE = VEC_MASKS, BLOCK_GROUPS = 16 };

/* The 32 lanes of one sum. */
typedef struct lanes {
    vec part[VEC_PARTS];
} lanes;

MGLU_INLINE lanes lanes_zero(void)
{
    lanes sum;

    MGLU_UNROLL
    for (int part = 0; part < VEC_PARTS; part++)
        sum.part[part] = vec_zero();
    return sum;
}

MGLU_INLINE float lanes_reduce(lanes sum)
{
    MGLU_UNROLL
    for (int step = VEC_PARTS / 2; step >= 1; step /= 2) {
        MGLU_UNROLL
        for (int part = 0; part < step; part++)
            sum.part[part] = vec_add(sum.part[part], sum.part[part + step]);
    }
    return vec_reduce(sum.part[0]);
}

/* The products of a part of a group with x, the input of that group's columns. */
MGLU_INLINE vec multiply(const struct weight_group *group, const float *x, int part, mglu_dtype dtype)
{
    return vec_mul(load_part(group, part, dtype), vec_load_f32(x + part * VEC_LANES));
}

/* Some groups of a row. */
struct block {
    struct weight_row row;
    const uint32_t *words; /* of the first group; the next group's are `pitch` further */
    int64_t pitch;
    const float *x;
    int64_t groups;
};

/*
 * Adds the products of a block to the total, and what the first n masks choose of them to the gate sums; keeps them,
 * with `keep`. `dtype`, `n` and `keep` are constants where this is used.
 */
MGLU_INLINE void multiply_block(const struct block *block, const int32_t *mask_ids, mglu_dtype dtype, int n, int keep,
                                lanes *total, lanes *gates, float *products)
{
    const struct weight_row row = block->row;
    const uint32_t *words[MASKS_AT_ONCE];
    lanes t = *total, s[MASKS_AT_ONCE];

    MGLU_UNROLL
    for (int i = 0; i < n; i++) {
        words[i] = block->words + mask_ids[i];
        s[i] = gates[i];
    }
    for (int64_t group = 0; group < block->groups; group++) {
        const struct weight_group weights = group_of(row, group, dtype);
        prefetch_weights(weights.weights, group_bytes(dtype), AHEAD);
        MGLU_UNROLL
        for (int part = 0; part < VEC_PARTS; part++) {
            vec p = multiply(&weights, block->x + group * MGLU_GROUP_COLUMNS, part, dtype);
            t.part[part] = vec_add(t.part[part], p);
            MGLU_UNROLL
            for (int i = 0; i < n; i++)
                s[i].part[part] = vec_add_masked(s[i].part[part], p, words[i][group * block->pitch], part);
            if (keep)
                vec_store_f32(products + group * MGLU_GROUP_COLUMNS + part * VEC_LANES, p);
        }
    }
    *total = t;
    MGLU_UNROLL
    for (int i = 0; i < n; i++)
        gates[i] = s[i];
}

/* Adds what one mask chooses of a block's products to its gate sum. */
MGLU_INLINE void add_chosen(const struct block *block, int32_t mask_id, const float *products, lanes *gate)
{
    const uint32_t *words = block->words + mask_id;
    lanes s = *gate;

    for (int64_t group = 0; group < block->groups; group++) {
        MGLU_UNROLL
        for (int part = 0; part < VEC_PARTS; part++)
            s.part[part] = vec_add_masked_at(s.part[part], products + group * MGLU_GROUP_COLUMNS + part * VEC_LANES,
                                             words[group * block->pitch], part);
    }
    *gate = s;
}

/* Row r's total and its gate sums, those of the first n masks in registers. `dtype`, `n` and `more` are constants. */
MGLU_INLINE void sum_row(const struct mglu_cpu_sums *job, int32_t r, mglu_dtype dtype, int n, int more)
{
    const struct mglu_cpu_matrix *matrix = job->matrix;
    const int64_t row = job->first_row + r, groups = matrix->groups;
    const uint32_t *words = matrix->masks + row * groups * matrix->n_masks;
    const int64_t most = more ? BLOCK_GROUPS : groups;
    _Alignas(64) float products[BLOCK_GROUPS * MGLU_GROUP_COLUMNS];
    lanes total = lanes_zero(), gates[MGLU_MAX_MASKS];

    for (int32_t i = 0; i < (more ? job->n : n); i++)
        gates[i] = lanes_zero();
    for (int64_t group = 0; group < groups; group += most) {
        const struct block block = {
            .row = row_from(matrix, row, group, dtype),
            .words = words + group * matrix->n_masks,
            .pitch = matrix->n_masks,
            .x = (const float *)job->x + group * MGLU_GROUP_COLUMNS,
            .groups = groups - group < most ? groups - group : most,
        };
        multiply_block(&block, job->mask_ids, dtype, n, more, &total, gates, products);
        for (int32_t i = n; more && i < job->n; i++)
            add_chosen(&block, job->mask_ids[i], products, &gates[i]);
    }
    job->totals[r] = lanes_reduce(total);
    for (int32_t i = 0; i < (more ? job->n : n); i++)
        job->gates[i][r] = lanes_reduce(gates[i]);
}

/*
 * The totals of PLAIN_ROWS rows, `apart` rows from each other, a group of each in turn: some machines bring in several
 * streams faster than one. The order of additions is that of sum_row().
 */
MGLU_INLINE void sum_plain_rows(const struct mglu_cpu_sums *job, int32_t r, int32_t apart, mglu_dtype dtype)
{
    struct weight_row rows[PLAIN_ROWS];
    lanes totals[PLAIN_ROWS];

    for (int i = 0; i < PLAIN_ROWS; i++) {
        rows[i] = row_from(job->matrix, job->first_row + r + i * apart, 0, dtype);
        totals[i] = lanes_zero();
    }
    for (int64_t group = 0; group < job->matrix->groups; group++) {
        const float *x = (const float *)job->x + group * MGLU_GROUP_COLUMNS;
        for (int i = 0; i < PLAIN_ROWS; i++) {
            const struct weight_group weights = group_of(rows[i], group, dtype);
            prefetch_weights(weights.weights, group_bytes(dtype), PLAIN_AHEAD);
            MGLU_UNROLL
            for (int part = 0; part < VEC_PARTS; part++)
                totals[i].part[part] = vec_add(totals[i].part[part], multiply(&weights, x, part, dtype));
        }
    }
    for (int i = 0; i < PLAIN_ROWS; i++)
        job->totals[r + i * apart] = lanes_reduce(totals[i]);
}

#include "passes.h"

/* One call of a sums kernel. Arithmetic bounds quantised rows: side by side they gain nothing, and spill registers. */
MGLU_INLINE void sum_matrix(const struct mglu_cpu_sums *job, mglu_dtype dtype)
{
    const int side_by_side = PLAIN_ROWS > 1 && !is_quantised(dtype) && job->n == 0;
    const int32_t apart = side_by_side ? job->rows / PLAIN_ROWS : 0;

    for (int32_t r = 0; r < apart; r++)
        sum_plain_rows(job, r, apart, dtype);
    sum_rows(job, apart * PLAIN_ROWS, dtype);
}

#endif
