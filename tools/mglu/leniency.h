/* SPDX-License-Identifier: MIT */
#ifndef MGLU_TOOLS_LENIENCY_H
#define MGLU_TOOLS_LENIENCY_H

/**
 * @file
 * What of a model's folder may be ignored: without permission the programs refuse what they would not use, since the
 * result may then differ from what the model's author computes.
 */

#include <argp.h>
#include <stdbool.h>

struct leniency {
    bool unknown_keys;   /**< of config.json */
    bool unread_tensors; /**< of the weights */
};

/**
 * The children of a program's argp that loads a model: arguments_compute, then --ignore-unknown-keys and
 * --ignore-unread-tensors. The program points state->child_inputs[0] and [1] to a struct compute_options and a struct
 * leniency.
 */
extern const struct argp_child model_arguments[3];

#endif
