/* SPDX-License-Identifier: MIT */
#include "cases/groups.h"
#include "judge/grid.h"

/*
 * Rows as long as models have them, all of whose products have one sign. Biased errors, as of truncated sums, add up in
 * these rows; with mixed signs they cancel.
 */

enum { LONGEST_H = 14336, ROWS = 3 };

static void list(case_sink *sink, void *user)
{
    enum { TYPES = 6, COUNTS = 3, BATCHES = 3 };
    static const mglu_dtype types[TYPES][2] = {{MGLU_DTYPE_F32, MGLU_DTYPE_F32},   {MGLU_DTYPE_F16, MGLU_DTYPE_F16},
                                               {MGLU_DTYPE_BF16, MGLU_DTYPE_BF16}, {MGLU_DTYPE_F16, MGLU_DTYPE_F32},
                                               {MGLU_DTYPE_Q8_0, MGLU_DTYPE_F16},  {MGLU_DTYPE_Q4_0, MGLU_DTYPE_F32}};
    static const int counts[COUNTS] = {0, 1, 4}, batches[BATCHES] = {1, 2, 9};
    static struct grid_case table[TYPES * COUNTS * BATCHES];
    struct grid_case *next = table;

    for (int t = 0; t < TYPES; t++)
        for (int c = 0; c < COUNTS; c++)
            for (int b = 0; b < BATCHES; b++, next++) {
                *next = (struct grid_case){.kind = counts[c] ? MGLU_KIND_MASKED : MGLU_KIND_PLAIN,
                                           .weight = types[t][0],
                                           .x = types[t][1],
                                           .n_masks = counts[c],
                                           .activation = MGLU_ACTIVATION_IDENTITY,
                                           .h = LONGEST_H,
                                           .d = ROWS,
                                           .batch = batches[b],
                                           .fill = FILL_POSITIVE};
                grid_emit(next, "long", TIER_QUICK, sink, user);
            }
}

const struct group group_long = {"long", "long rows of one sign, where errors add up", list, grid_run};
