/* SPDX-License-Identifier: MIT */
#ifndef MGLU_TOOLS_PACK_FOLDER_H
#define MGLU_TOOLS_PACK_FOLDER_H

/**
 * @file
 * The folder of a packed model: a run leaves it complete or leaves nothing. Functions that fail have reported why.
 */

#include "common/io/output.h"

#include <stdbool.h>

struct pack_folder {
    const char *output;
    char *model_out; /**< where it is one file */
    char *config_out;
    struct mglu_io_output config; /**< a copy, complete but not in its place */
    bool has_config;
    bool created;   /**< this run created the output folder */
    bool had_model; /**< the output folder held a model before */
    bool finished;
};

/** Makes the output folder and a copy of config.json, which is not in its place yet. */
bool pack_folder_begin(struct pack_folder *folder, const char *input, const char *output);

/** Call it once the model is written: puts config.json in its place. */
bool pack_folder_finish(struct pack_folder *folder);

/** Frees the paths and, unless finished, removes what this run has created. */
void pack_folder_end(struct pack_folder *folder);

#endif
