/* SPDX-License-Identifier: MIT */
#include "run_inputs.h"

#include "config.h"
#include "layout_options.h"
#include "tools/common/report.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/** The activation of --activation, else the file's, else that of a config.json beside it. */
static bool select_activation(struct run_inputs *inputs, int named_in_file)
{
    const struct run_request *request = inputs->request;
    if (request->has_activation) {
        inputs->desc.activation = request->activation;
        inputs->desc.silu_beta = 0;
        return true;
    }
    if (named_in_file)
        return true;
    bool found = false;
    char *config = path_beside(request->path, "config.json");
    const bool done = config && config_activation(config, &inputs->desc.activation, &found);
    free(config);
    return done && (found || report_failure("%s: names no activation: give one with --activation", request->path));
}

static bool open_layer(struct run_inputs *inputs)
{
    int named;
    uint32_t flags = inputs->request->file_flags;
    if (!layout_complete_flags(inputs->request->path, &flags))
        return false;
    inputs->weights.struct_size = sizeof inputs->weights;
    inputs->desc.struct_size = sizeof inputs->desc;
    if (!model_open(inputs->request->path, flags, &inputs->model))
        return false;
    if (mglu_file_layer(inputs->model, inputs->request->prefix, &inputs->weights, &inputs->desc, &named) != MGLU_OK)
        return report_library(NULL);
    inputs->weights.flags |= mapping_weights_flags(flags);
    inputs->width = inputs->weights.down.data ? inputs->weights.output_size : inputs->weights.intermediate_size;
    return select_activation(inputs, named);
}

/** Rows of x, all its sizes but the last multiplied. False when that exceeds the library's limit. */
static bool count_rows(struct run_inputs *inputs)
{
    inputs->rows = 1;
    for (int32_t i = 0; i + 1 < inputs->x->rank; i++)
        if (__builtin_mul_overflow(inputs->rows, inputs->x->shape[i], &inputs->rows))
            return false;
    return inputs->rows <= MGLU_MAX_BATCH;
}

/** Opens x and sets the dtypes and shape of the computation: x's own dtype where the library supports it, else f32. */
static bool open_x(struct run_inputs *inputs)
{
    const struct tensor_name *name = &inputs->request->x;
    if (!tensor_load(name, &inputs->loaded_x))
        return false;
    inputs->x = &inputs->loaded_x.tensor;
    char shape[256];
    tensor_shape_text(inputs->x, shape, sizeof shape);
    if (!tensor_is_float(inputs->x))
        return report_failure("%s: tensor '%s': dtype %s, x needs F32, F16, BF16 or F64", name->path, name->tensor,
                              mglu_file_dtype_name(inputs->x->dtype));
    const int32_t rank = inputs->x->rank;
    if (rank < 1 || inputs->x->shape[rank - 1] != inputs->weights.hidden_size)
        return report_failure("%s: tensor '%s': shape %s, the layer takes rows of %" PRId64, name->path, name->tensor,
                              shape, inputs->weights.hidden_size);
    if (!count_rows(inputs))
        return report_failure("%s: tensor '%s': shape %s has more than %" PRId64 " rows", name->path, name->tensor,
                              shape, MGLU_MAX_BATCH);
    const bool half = inputs->x->dtype == MGLU_FILE_F16 || inputs->x->dtype == MGLU_FILE_BF16;
    inputs->y = *inputs->x;
    inputs->y.name = inputs->request->out.tensor;
    inputs->y.dtype = half ? inputs->x->dtype : MGLU_FILE_F32;
    memcpy(inputs->y_shape, inputs->x->shape, (size_t)rank * sizeof inputs->y_shape[0]);
    inputs->y_shape[rank - 1] = inputs->width;
    inputs->y.shape = inputs->y_shape;
    inputs->y.bytes = (size_t)tensor_elements(&inputs->y) * mglu_file_dtype_size(inputs->y.dtype);
    inputs->desc.x_dtype = inputs->y.dtype == MGLU_FILE_F16    ? MGLU_DTYPE_F16
                           : inputs->y.dtype == MGLU_FILE_BF16 ? MGLU_DTYPE_BF16
                                                               : MGLU_DTYPE_F32;
    inputs->desc.y_dtype = inputs->desc.x_dtype;
    inputs->desc.flags |= inputs->request->compute.layer_flags;
    inputs->desc.max_batch = inputs->rows > 0 ? inputs->rows : 1;
    return true;
}

static bool same_shape(const mglu_file_tensor *a, const mglu_file_tensor *b)
{
    return a->rank == b->rank && memcmp(a->shape, b->shape, (size_t)a->rank * sizeof a->shape[0]) == 0;
}

/** Opens the expected result, if there is one. */
static bool open_check(struct run_inputs *inputs)
{
    const struct tensor_name *name = &inputs->request->check;
    if (!name->path)
        return true;
    if (!tensor_load(name, &inputs->loaded_want))
        return false;
    inputs->want = &inputs->loaded_want.tensor;
    if (!tensor_is_float(inputs->want))
        return report_failure("%s: tensor '%s': dtype %s is not a floating-point dtype", name->path, name->tensor,
                              mglu_file_dtype_name(inputs->want->dtype));
    if (same_shape(inputs->want, &inputs->y))
        return true;
    char has[256], wanted[256], hint[512] = "";
    tensor_shape_text(inputs->want, has, sizeof has);
    tensor_shape_text(&inputs->y, wanted, sizeof wanted);
    const mglu_weights_desc *weights = &inputs->weights;
    if (weights->kind == MGLU_KIND_MASKED && weights->down.data && inputs->want->rank > 0 &&
        inputs->want->shape[inputs->want->rank - 1] == weights->intermediate_size)
        snprintf(hint, sizeof hint, "; for the projection alone: --layer %s.up_proj", inputs->request->prefix);
    return report_failure("%s: tensor '%s': shape %s, but the layer gives %s%s", name->path, name->tensor, has, wanted,
                          hint);
}

/** The output must not overwrite an input. */
static bool check_output(const struct run_request *request)
{
    const char *paths[] = {request->path, request->x.path, request->check.path};
    for (size_t i = 0; request->out.path && i < sizeof paths / sizeof paths[0]; i++)
        if (paths[i] && path_same(paths[i], request->out.path))
            return report_failure("%s: the output would replace an input", request->out.path);
    return true;
}

bool run_inputs_open(struct run_inputs *inputs, const struct run_request *request)
{
    *inputs = (struct run_inputs){.request = request};
    if (check_output(request) && open_layer(inputs) && open_x(inputs) && open_check(inputs))
        return true;
    run_inputs_close(inputs);
    return false;
}

void run_inputs_close(struct run_inputs *inputs)
{
    tensor_release(&inputs->loaded_want);
    tensor_release(&inputs->loaded_x);
    mglu_file_close(&inputs->model);
}
