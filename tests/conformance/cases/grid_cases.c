/* SPDX-License-Identifier: MIT */
#include "cases/groups.h"
#include "judge/grid.h"

/* Included after the axes, whose number it uses. */
#include "grid_rows.h"

enum { DOWN_ROWS = 21 };

static const mglu_dtype dtypes[][3] = {
    {MGLU_DTYPE_F32, MGLU_DTYPE_F32, MGLU_DTYPE_F32},   {MGLU_DTYPE_F16, MGLU_DTYPE_F16, MGLU_DTYPE_F16},
    {MGLU_DTYPE_F16, MGLU_DTYPE_F16, MGLU_DTYPE_F32},   {MGLU_DTYPE_BF16, MGLU_DTYPE_BF16, MGLU_DTYPE_BF16},
    {MGLU_DTYPE_BF16, MGLU_DTYPE_BF16, MGLU_DTYPE_F32}, {MGLU_DTYPE_F16, MGLU_DTYPE_F32, MGLU_DTYPE_F32},
    {MGLU_DTYPE_F32, MGLU_DTYPE_F16, MGLU_DTYPE_BF16},  {MGLU_DTYPE_Q8_0, MGLU_DTYPE_F32, MGLU_DTYPE_F32},
    {MGLU_DTYPE_Q8_0, MGLU_DTYPE_F16, MGLU_DTYPE_F16},  {MGLU_DTYPE_Q4_0, MGLU_DTYPE_F32, MGLU_DTYPE_F32},
    {MGLU_DTYPE_Q4_0, MGLU_DTYPE_BF16, MGLU_DTYPE_F32},
};

_Static_assert(sizeof dtypes / sizeof dtypes[0] == DTYPE_TRIPLES && MGLU_DTYPE_COUNT == 5,
               "a new dtype needs rows here, and DTYPE_TRIPLES counts them");

/* After the activations the axis has SiLU again, with another beta. */
static const float other_beta = 1.702f;

static struct grid_case case_of_row(const signed char row[AXES])
{
    const mglu_dtype *types = dtypes[row[AXIS_DTYPES]];
    const bool is_other_silu = row[AXIS_ACTIVATION] == MGLU_ACTIVATION_COUNT;
    int32_t masks = axis_masks[row[AXIS_MASKS]];

    return (struct grid_case){
        .kind = masks ? MGLU_KIND_MASKED : MGLU_KIND_PLAIN,
        .weight = types[0],
        .x = types[1],
        .y = types[2],
        .n_masks = masks,
        .activation = is_other_silu ? MGLU_ACTIVATION_SILU : (mglu_activation)row[AXIS_ACTIVATION],
        .silu_beta = is_other_silu ? other_beta : 0,
        .h = axis_h[row[AXIS_H]],
        .d = axis_d[row[AXIS_D]],
        .batch = axis_batch[row[AXIS_BATCH]],
        .out = row[AXIS_DOWN] ? DOWN_ROWS : 0,
        .bias = (enum bias)row[AXIS_BIAS],
        .routing = (enum routing)row[AXIS_ROUTING],
        .residual = (enum residual)row[AXIS_RESIDUAL],
        .placement = (enum placement)row[AXIS_PLACEMENT],
        .fill = (enum fill)row[AXIS_FILL],
        .bits = (enum bits)row[AXIS_BITS],
    };
}

static bool is_quick(int row)
{
    return row < PAIR_ROWS || (row >= FLOAT_ROWS && row < QUICK_ROWS);
}

/* Quantised integers are not always integers again: these rows have no exact data. */
static void list_rows(struct grid_case table[GRID_ROWS], const char *group, bool exact, case_sink *sink, void *user)
{
    for (int i = 0; i < GRID_ROWS; i++) {
        table[i] = case_of_row(grid_rows[i]);
        if (exact && table[i].bits == BITS_QUANTISED_X)
            continue;
        if (exact)
            table[i].fill = FILL_EXACT;
        grid_emit(&table[i], group, is_quick(i) ? TIER_QUICK : TIER_FULL, sink, user);
    }
}

static void grid_list(case_sink *sink, void *user)
{
    static struct grid_case table[GRID_ROWS];

    list_rows(table, "grid", false, sink, user);
}

/* Every small shape, in some dtypes. */
static void list_small(case_sink *sink, void *user)
{
    enum { H = 130, D = 9, TYPES = 5 };
    static const int types[TYPES] = {0, 1, 3, 7, 10};
    static struct grid_case table[H * D * MGLU_MAX_MASKS * TYPES];
    struct grid_case *next = table;

    for (int h = 1; h <= H; h++)
        for (int d = 1; d <= D; d++)
            for (int masks = 1; masks <= MGLU_MAX_MASKS; masks++)
                for (int i = 0; i < TYPES; i++, next++) {
                    *next = (struct grid_case){.kind = MGLU_KIND_MASKED,
                                               .weight = dtypes[types[i]][0],
                                               .x = dtypes[types[i]][1],
                                               .y = dtypes[types[i]][2],
                                               .n_masks = masks,
                                               .activation = MGLU_ACTIVATION_IDENTITY,
                                               .h = h,
                                               .d = d,
                                               .batch = 2,
                                               .bias = BIAS_BOTH,
                                               .fill = FILL_EXACT,
                                               .placement = (enum placement)((h + d + masks) % PLACEMENTS)};
                    grid_emit(next, "exact", TIER_EXHAUSTIVE, sink, user);
                }
}

static void exact_list(case_sink *sink, void *user)
{
    static struct grid_case table[GRID_ROWS];

    list_rows(table, "exact", true, sink, user);
    list_small(sink, user);
}

const struct group group_grid = {"grid", "all pairs (full: triples) of the axes, within the error bound", grid_list,
                                 grid_run};
const struct group group_exact = {"exact", "the same on integers whose sums are exact in any order", exact_list,
                                  grid_run};
