/* SPDX-License-Identifier: MIT */
#ifndef MGLU_TOOLS_CONFIG_ROPE_H
#define MGLU_TOOLS_CONFIG_ROPE_H

/**
 * @file
 * The rotary position embedding of a config.json: rope_theta and rope_scaling, or rope_parameters with both, as
 * transformers writes since version 5.
 */

#include "config_object.h"
#include "rope.h"

/** Has reported why when it fails. */
bool config_read_rope(const struct config_object *root, struct rope *rope);

#endif
