/* SPDX-License-Identifier: MIT */
#ifndef MGLU_TOOLS_RUN_INPUTS_H
#define MGLU_TOOLS_RUN_INPUTS_H

#include "files.h"
#include "tools/common/compute.h"

#include <mglu/mglu.h>

/** The command line of "mglu run". */
struct run_request {
    char *path;
    const char *prefix;
    struct tensor_name x, out, check;
    bool has_activation;
    mglu_activation activation;
    uint32_t file_flags; /**< for mglu_file_open() */
    struct compute_options compute;
};

/** The files of a run, opened, with matching shapes. */
struct run_inputs {
    const struct run_request *request;
    mglu_file *model;
    struct loaded_tensor loaded_x, loaded_want;
    const mglu_file_tensor *x;
    const mglu_file_tensor *want; /**< NULL: nothing to compare with */
    mglu_weights_desc weights;
    mglu_layer_desc desc;
    int64_t rows;       /**< of x and y */
    int64_t width;      /**< of a row of y */
    mglu_file_tensor y; /**< name, shape and dtype of the result, no data yet */
    int64_t y_shape[MGLU_FILE_MAX_RANK];
};

/** Reports why when something is missing or does not fit. */
bool run_inputs_open(struct run_inputs *inputs, const struct run_request *request);
void run_inputs_close(struct run_inputs *inputs);

#endif
