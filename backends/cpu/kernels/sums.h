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
 * What a vec_<isa>.h defines: vec, VEC_LANES, VEC_MASKS (masks whose sums fit the registers, 1 to 16) and PLAIN_AHEAD
 * (how far ahead plain rows are asked for); vec_zero; from any address vec_load_f32, vec_load_f16, vec_load_bf16,
 * vec_load_i8 and vec_load_nibbles; vec_spread_f16, vec_store_f32, vec_mul, vec_add; vec_add_masked, which adds the
 * lanes of p that the bits of the word from part * VEC_LANES on choose; vec_add_masked_at, the same with p in memory;
 * and vec_reduce, the rest of the tree.
 */

#include "kernels.h"
#include "mutants.h"
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

struct block {
    const char *weights;
    const uint16_t *scales;
    const float *x;
    const uint32_t *words; /* of its first group; the next group's are `pitch` further */
    int64_t pitch;
    int64_t groups;
};

/*
 * Adds the products of a block to the total, and what the first n masks choose of them to the gate sums; keeps them,
 * with `keep`. `dtype`, `n` and `keep` are constants where this is used.
 */
MGLU_INLINE void multiply_block(const struct block *block, const int32_t *mask_ids, mglu_dtype dtype, int n, int keep,
                                lanes *total, lanes *gates, float *products)
{
    const uint32_t *words[MASKS_AT_ONCE];
    lanes t = *total, s[MASKS_AT_ONCE];

    MGLU_UNROLL
    for (int i = 0; i < n; i++) {
        words[i] = block->words + mask_ids[i];
        s[i] = gates[i];
    }
    for (int64_t group = 0; group < block->groups; group++) {
        const char *weights = block->weights + (size_t)group * group_bytes(dtype);
        const vec scale = is_quantised(dtype) ? vec_spread_f16(block->scales[group]) : vec_zero();
        prefetch_weights(weights, group_bytes(dtype), n > 0 ? AHEAD : PLAIN_AHEAD);
        MGLU_UNROLL
        for (int part = 0; part < VEC_PARTS; part++) {
            int64_t column = group * MGLU_GROUP_COLUMNS + part * VEC_LANES;
            vec p = MUT(31, vec_mul,
                        mutant_mul_nonzero)(MUT_WRAP(43, mutant_weight_off, load_part(weights, scale, part, dtype)),
                                            vec_load_f32(block->x + column));
            t.part[part] = vec_add(t.part[part], p);
            MGLU_UNROLL
            for (int i = 0; i < n; i++)
                s[i].part[part] = MUT(32, vec_add_masked, mutant_add_multiplied)(
                    s[i].part[part], p, MUT_WRAP(4, mutant_reverse_bytes, words[i][group * block->pitch]), part);
            if (keep)
                vec_store_f32(products + column, p);
        }
        MUT_DO(16, mutant_round_sums(t.part, s[0].part, n * VEC_PARTS, VEC_PARTS, MGLU_DTYPE_F16));
        MUT_DO(44, mutant_round_sums(t.part, s[0].part, n * VEC_PARTS, VEC_PARTS, MGLU_DTYPE_BF16));
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
    const int64_t row = job->first_row + r, groups = matrix->groups, end = MUT(39, groups, groups + 1);
    const char *weights = matrix->rows + MUT_WRAP(26, (uint16_t), (size_t)row * matrix->row_stride);
    const uint32_t *words = matrix->masks + row * groups * matrix->n_masks;
    const int64_t most = more ? BLOCK_GROUPS : end;
    _Alignas(64) float products[BLOCK_GROUPS * MGLU_GROUP_COLUMNS];
    lanes total = lanes_zero(), gates[MGLU_MAX_MASKS];

    for (int32_t i = 0; i < (more ? job->n : n); i++)
        gates[i] = lanes_zero();
    for (int64_t group = 0; group < end; group += most) {
        const struct block block = {
            .weights = weights + (size_t)group * group_bytes(dtype),
            .scales = is_quantised(dtype) ? row_scales(matrix, row) + group : NULL,
            .x = (const float *)job->x + group * MGLU_GROUP_COLUMNS,
            .words = words + group * matrix->n_masks,
            .pitch = matrix->n_masks,
            .groups = end - group < most ? end - group : most,
        };
        multiply_block(&block, job->mask_ids, dtype, n, more, &total, gates, products);
        for (int32_t i = n; more && i < job->n; i++)
            add_chosen(&block, job->mask_ids[i], products, &gates[i]);
    }
    job->totals[r] = lanes_reduce(total);
    for (int32_t i = 0; i < (more ? job->n : n); i++)
        job->gates[i][r] = lanes_reduce(gates[i]);
}

#endif
