/* SPDX-License-Identifier: MIT */
#ifndef MGLU_CPU_SUMS_H
#define MGLU_CPU_SUMS_H

/*
 * The sums over a row, written once over the vectors of whichever vec_<isa>.h was included before.
 *
 * A group of 32 columns goes to 32 lanes: lane j sums columns j, 32 + j, 64 + j, ... in this order, each product
 * rounded and then added, for all instruction sets alike. The lanes are then added in one fixed tree: lane j and lane
 * j + 16, then j + 8, + 4, + 2, + 1. Hence the same bits everywhere.
 */

#include "kernels.h"
#include "mutants.h"
#include "widen.h"

#include "common/core/mask_format.h"

enum { VEC_PARTS = MGLU_GROUP_COLUMNS / VEC_LANES };

/* The 32 lanes of one sum. */
typedef struct lanes {
    vec part[VEC_PARTS];
} lanes;

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

/* Row r's total, and its gate sums for n masks from `first` on. `dtype` and `n` are constants where this is used. */
MGLU_INLINE void sum_row(const struct mglu_cpu_sums *job, int32_t r, int32_t first, mglu_dtype dtype, int n)
{
    const struct mglu_cpu_matrix *matrix = job->matrix;
    const int64_t row = job->first_row + r, groups = matrix->groups, n_masks = matrix->n_masks;
    const char *weights = matrix->rows + MUT_WRAP(26, (uint16_t), (size_t)row * matrix->row_stride);
    const size_t group_bytes = MGLU_GROUP_COLUMNS * element_bytes(dtype);
    const float *x = job->x;
    const uint32_t *words[MASKS_PER_PASS];
    lanes t, s[MASKS_PER_PASS];

    MGLU_UNROLL
    for (int part = 0; part < VEC_PARTS; part++)
        t.part[part] = vec_zero();
    MGLU_UNROLL
    for (int i = 0; i < n; i++) {
        words[i] = matrix->masks + row * groups * n_masks + job->mask_ids[first + i];
        s[i] = t;
    }
    for (int64_t group = 0; MUT(39, group < groups, group <= groups); group++) {
        prefetch_weights(weights + (size_t)group * group_bytes, group_bytes);
        MGLU_UNROLL
        for (int part = 0; part < VEC_PARTS; part++) {
            int64_t column = group * MGLU_GROUP_COLUMNS + part * VEC_LANES;
            vec p = MUT(31, vec_mul, mutant_mul_nonzero)(MUT_WRAP(43, mutant_weight_off, load(weights, column, dtype)),
                                                         vec_load_f32(x + column));
            t.part[part] = vec_add(t.part[part], p);
            MGLU_UNROLL
            for (int i = 0; i < n; i++)
                s[i].part[part] = MUT(32, vec_add_masked, mutant_add_multiplied)(
                    s[i].part[part], p, MUT_WRAP(4, mutant_reverse_bytes, words[i][group * n_masks]), part);
        }
        MUT_DO(16, mutant_round_sums(t.part, s[0].part, n * VEC_PARTS, VEC_PARTS, MGLU_DTYPE_F16));
        MUT_DO(44, mutant_round_sums(t.part, s[0].part, n * VEC_PARTS, VEC_PARTS, MGLU_DTYPE_BF16));
    }
    job->totals[r] = lanes_reduce(t);
    MGLU_UNROLL
    for (int i = 0; i < n; i++)
        job->gates[first + i][r] = lanes_reduce(s[i]);
}

#endif
