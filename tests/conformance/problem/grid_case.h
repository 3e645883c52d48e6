/* SPDX-License-Identifier: MIT */
#ifndef MGLU_CONFORMANCE_GRID_CASE_H
#define MGLU_CONFORMANCE_GRID_CASE_H

#include "conformance.h"
#include "problem/axes.h"

/** All that defines one forward of the grid, apart from the numbers. */
struct grid_case {
    mglu_kind kind;
    mglu_dtype weight, x, y;
    int32_t n_masks; /**< 0 when plain */
    mglu_activation activation;
    float silu_beta;
    int64_t h, d, batch;
    int64_t out; /**< rows of the down-projection; 0: none */
    enum bias bias;
    enum routing routing;
    enum residual residual;
    enum placement placement;
    enum fill fill;
    enum bits bits;
};

/** K of top-K routing, 0 without. */
int32_t grid_top_k(const struct grid_case *test);

/** Columns of y. */
int64_t grid_columns(const struct grid_case *test);

/**
 * Whether every right result has the same bits: integers so small that no sum is ever rounded, and a function that
 * keeps them integers.
 */
bool grid_is_exact(const struct grid_case *test);

/** Writes "group/mglu_w=f16_..." to `name`, with everything that defines the case. */
void grid_name(const struct grid_case *test, const char *group, char *name, size_t size);

/** Gives a case to the sink, whose data is `test`, which must live on. */
void grid_emit(const struct grid_case *test, const char *group, enum tier tier, case_sink *sink, void *user);

#endif
