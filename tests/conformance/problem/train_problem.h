/* SPDX-License-Identifier: MIT */
#ifndef MGLU_CONFORMANCE_TRAIN_PROBLEM_H
#define MGLU_CONFORMANCE_TRAIN_PROBLEM_H

#include "problem/buffers.h"
#include "problem/random.h"
#include "problem/train_case.h"

/** The numbers of a training step, and memory for its results. */
struct train_problem {
    const struct train_case *test;
    mglu_train_desc desc;
    struct rows x, weight, masks, gate_bias, value_bias, router_logits, dy;
    struct rows results[TRAIN_RESULTS]; /**< those that are not wanted have no region */
    float *before[TRAIN_RESULTS];       /**< what accumulated results had before; else NULL */
};

void train_problem_make(struct train_problem *problem, const struct train_case *test, struct random random);
void train_problem_free(struct train_problem *problem);

/** Gives the results what they had before the backward: NaN, or the numbers to add to. */
void train_problem_reset(struct train_problem *problem);

/** What forward, backward and the oracle read. */
mglu_train_inputs train_problem_inputs(const struct train_problem *problem);

/** A result as an output with its stride; without data where it is not wanted. */
mglu_output train_problem_output(const struct train_problem *problem, enum train_result result);

/** The same of one without gaps. */
float *train_problem_array(const struct train_problem *problem, enum train_result result);

#endif
