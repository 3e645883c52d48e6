/* SPDX-License-Identifier: MIT */
#ifndef MGLU_TOOLS_CONFIG_KEYS_H
#define MGLU_TOOLS_CONFIG_KEYS_H

/**
 * @file
 * Which keys a config.json may have. A key is read, or known to be harmless, or known to change the computation in a
 * way that the decoder lacks, or unknown. A model whose config.json asks for something else than is computed would
 * give wrong numbers, so only keys of the first two kinds are accepted.
 */

#include "config_object.h"

/**
 * Refuses keys that change the computation, except where their value asks for nothing, and unknown keys unless
 * `ignore_unknown`. Has reported why.
 */
bool config_check_keys(const struct config_object *object, bool ignore_unknown);

#endif
