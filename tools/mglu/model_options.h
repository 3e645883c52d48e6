/* SPDX-License-Identifier: MIT */
#ifndef MGLU_TOOLS_MODEL_OPTIONS_H
#define MGLU_TOOLS_MODEL_OPTIONS_H

/**
 * @file
 * The options of programs that load a whole model. What a model's folder has and the decoder would not use is refused
 * without permission, since the result may then differ from what the model's author computes.
 */

#include "tools/common/arguments.h"
#include "tools/common/compute.h"

struct model_options {
    struct compute_options compute;
    uint32_t file_flags; /**< for mglu_file_open() */
    bool ignore_unknown_keys;
};

/** The children of such a program's argp. */
extern const struct argp_child model_arguments[5];

/** Tells the children where their options go; for ARGP_KEY_INIT. */
void model_arguments_begin(struct argp_state *state, struct model_options *options);

#endif
