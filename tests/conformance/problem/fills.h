/* SPDX-License-Identifier: MIT */
#ifndef MGLU_CONFORMANCE_FILLS_H
#define MGLU_CONFORMANCE_FILLS_H

#include "problem/buffers.h"
#include "problem/grid_case.h"
#include "problem/random.h"

/** The numbers of a case: sources of the weights, and the rows of one forward. */
struct grid_problem {
    const struct grid_case *test;
    mglu_weights_desc weights;
    mglu_layer_desc layer;
    struct rows sources[12];
    int source_count;
    struct rows *masks;                 /**< the one of the sources */
    struct rows x, y, residual, ids, p; /**< those that are absent have no region; y is its own residual in place */
    bool routing_is_clear;              /**< the router's selection does not depend on rounding */
};

/**
 * Draws all numbers. `attempt` gives other numbers of the same kind, for when the first ones would prove nothing by
 * chance.
 */
void grid_problem_make(struct grid_problem *problem, const struct grid_case *test, const struct target *target,
                       const char *name, int attempt);
void grid_problem_free(struct grid_problem *problem);

/** Resets y to its content before a forward: NaN, or the residual where y is its own residual. */
void grid_problem_reset_y(struct grid_problem *problem);

/** Gives W other numbers, [d][h], that suit the case's fill. */
void grid_problem_set_weight(struct grid_problem *problem, const float *numbers, struct random *random);

/** Overwrites the sources: a device that still needs them after weights were made gives wrong results. */
void grid_problem_overwrite_sources(struct grid_problem *problem);

/** The arguments of a forward without workspace. */
mglu_forward_args grid_problem_args(const struct grid_problem *problem, bool on_device);

/** What an element of an array may be. */
enum role { ROLE_WEIGHT, ROLE_X, ROLE_GATE_BIAS, ROLE_VALUE_BIAS, ROLE_ROUTER, ROLE_DOWN, ROLE_OTHER };

/** [rows][columns] floats drawn by the case's fill, to be freed. */
float *draw_matrix(const struct grid_case *test, enum role role, int64_t rows, int64_t columns, struct random *random);

/** [n_m * d][h] bytes 0 or 1. */
void draw_masks(const struct grid_case *test, struct rows *masks, struct random *random);

/** ids and weights of [batch][K]. */
void draw_routing(const struct grid_case *test, struct rows *ids, struct rows *p, struct random *random);

/** Whether the largest K logits are the same whatever the rounding. */
bool router_is_clear(const struct grid_case *test, const float *x, const float *router);

#endif
