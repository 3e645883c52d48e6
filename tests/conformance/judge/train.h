/* SPDX-License-Identifier: MIT */
#ifndef MGLU_CONFORMANCE_JUDGE_TRAIN_H
#define MGLU_CONFORMANCE_JUDGE_TRAIN_H

#include "problem/train_problem.h"

/** A plan, and memory of exactly the sizes that it asks for. */
struct train_rig {
    mglu_train *train;
    struct rows workspace, saved;
};

/**
 * Makes a rig for a batch. False, with the outcome set, when that fails; a device that does not train makes the case
 * one that is skipped.
 */
bool train_open(struct train_rig *rig, mglu_device *device, const mglu_train_desc *desc, int64_t batch,
                struct outcome *outcome);
void train_close(struct train_rig *rig);

/** The arguments of a problem on a rig. `parallel` may be NULL. */
mglu_train_forward_args train_forward_args(const struct train_rig *rig, const struct train_problem *problem,
                                           const mglu_parallel *parallel);
mglu_train_backward_args train_backward_args(const struct train_rig *rig, const struct train_problem *problem,
                                             const mglu_parallel *parallel);

/** A forward, and a backward where a gradient is wanted; memory outside the results must not change. */
bool train_step(const struct train_rig *rig, struct train_problem *problem, const mglu_parallel *parallel,
                struct outcome *outcome);

/** Runs the struct train_case of a test on the target, and compares every element with the oracle. */
void train_run(const struct target *target, const struct test_case *test, struct outcome *outcome);

#endif
