/* SPDX-License-Identifier: MIT */
#ifndef MGLU_CONFORMANCE_TRAIN_CALLS_H
#define MGLU_CONFORMANCE_TRAIN_CALLS_H

#include "judge/train.h"

/** A case of training that is no step of the grid: its name follows "train/call/". */
struct train_check {
    const char *name;
    void (*run)(const struct target *target, struct random random, struct outcome *outcome);
};

/** Lists that end without a name: train_bits.c, train_calls.c and train_rules.c, which calls are refused. */
extern const struct train_check train_bit_checks[], train_call_checks[], train_rule_checks[];

/** A step with every part, of both biases and routing. */
struct train_case whole_train_case(mglu_dtype dtype);

#endif
