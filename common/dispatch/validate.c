/* SPDX-License-Identifier: MIT */
#include "common/core/convert.h"
#include "common/core/pack.h"
#include "common/dispatch/memory_rows.h"
#include "common/dispatch/objects.h"

/* The arguments of the public calls are checked here and nowhere else; backends trust them. */

#define INVALID(...) mglu_fail(MGLU_ERROR_INVALID_ARGUMENT, __VA_ARGS__)

#define WEIGHTS_FLAGS                                                                                                  \
    (MGLU_WEIGHTS_ALLOW_NONFINITE | MGLU_WEIGHTS_BORROW | MGLU_WEIGHTS_REQUIRE_BORROW | MGLU_WEIGHTS_CHECKED)

static mglu_status check_sizes(const mglu_weights_desc *desc)
{
    const struct {
        const char *name;
        int64_t size;
    } sizes[] = {
        {"hidden_size", desc->hidden_size},
        {"intermediate_size", desc->intermediate_size},
        {"output_size", desc->output_size},
    };

    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        if (sizes[i].size < 0 || sizes[i].size > MGLU_MAX_SIZE)
            return INVALID("weights: %s is %lld, must be 0..%lld", sizes[i].name, (long long)sizes[i].size,
                           (long long)MGLU_MAX_SIZE);
    return MGLU_OK;
}

static mglu_status check_kind(const mglu_weights_desc *desc)
{
    if (desc->kind != MGLU_KIND_MASKED && desc->kind != MGLU_KIND_PLAIN)
        return INVALID("weights: unknown kind %d", (int)desc->kind);
    if (desc->kind == MGLU_KIND_MASKED && (desc->n_masks < 1 || desc->n_masks > MGLU_MAX_MASKS))
        return INVALID("weights: n_masks is %d, must be 1..%d", desc->n_masks, MGLU_MAX_MASKS);
    if (desc->kind == MGLU_KIND_PLAIN && desc->n_masks != 0)
        return INVALID("weights: n_masks is %d, a plain GLU has none", desc->n_masks);
    if (!mglu_dtype_name(desc->dtype))
        return INVALID("weights: unknown dtype %d", (int)desc->dtype);
    if (desc->reserved != 0 || desc->flags & ~(uint32_t)WEIGHTS_FLAGS)
        return INVALID("weights: unknown flags, or reserved is not 0");
    return mglu_parallel_check("weights", desc->parallel);
}

enum presence { ABSENT, OPTIONAL, REQUIRED };

/* Checks one array of `columns` columns to be stored as `dtype`; `rows` * `columns` = 0 needs no data. */
static mglu_status check_array(const char *name, const mglu_array *array, mglu_dtype dtype, enum presence presence,
                               int64_t rows, int64_t columns)
{
    if (array->data && presence == ABSENT)
        return INVALID("weights: %s does not belong to this kind of layer", name);
    if (!array->data && presence == REQUIRED && rows > 0 && columns > 0)
        return INVALID("weights: %s is missing", name);
    if (!array->data)
        return MGLU_OK;
    return mglu_check_source(name, array, (size_t)columns, dtype);
}

static mglu_status check_arrays(const mglu_weights_desc *desc)
{
    int masked = desc->kind == MGLU_KIND_MASKED;
    int64_t h = desc->hidden_size, d = desc->intermediate_size, out = desc->output_size;
    int64_t terms = masked ? desc->n_masks : 1;
    const struct {
        const char *name;
        const mglu_array *array;
        mglu_dtype dtype;
        enum presence presence;
        int64_t rows, columns;
    } arrays[] = {
        {"weight", &desc->weight, desc->dtype, REQUIRED, d, h},
        {"value_weight", &desc->value_weight, desc->dtype, masked ? ABSENT : REQUIRED, d, h},
        {"gate_bias", &desc->gate_bias, MGLU_DTYPE_F32, OPTIONAL, terms, d},
        {"value_bias", &desc->value_bias, MGLU_DTYPE_F32, OPTIONAL, terms, d},
        {"router", &desc->router, MGLU_DTYPE_F32, masked ? OPTIONAL : ABSENT, terms, h},
        {"down", &desc->down, desc->dtype, out > 0 ? REQUIRED : ABSENT, out, d},
        {"down_bias", &desc->down_bias, MGLU_DTYPE_F32, out > 0 ? OPTIONAL : ABSENT, 1, out},
    };
    mglu_status status = MGLU_OK;

    for (size_t i = 0; i < sizeof arrays / sizeof arrays[0] && status == MGLU_OK; i++)
        status = check_array(arrays[i].name, arrays[i].array, arrays[i].dtype, arrays[i].presence, arrays[i].rows,
                             arrays[i].columns);
    if (status != MGLU_OK)
        return status;
    if (!masked && desc->masks.data)
        return INVALID("weights: masks do not belong to a plain GLU");
    if (masked && !desc->masks.data && d > 0 && h > 0)
        return INVALID("weights: masks are missing");
    if ((unsigned)desc->masks.form > MGLU_MASK_BITS)
        return INVALID("weights: unknown mask form %d", (int)desc->masks.form);
    return MGLU_OK;
}

mglu_status mglu_validate_weights(const mglu_weights_desc *desc)
{
    mglu_status status = check_sizes(desc);

    if (status == MGLU_OK)
        status = check_kind(desc);
    if (status == MGLU_OK)
        status = check_arrays(desc);
    return status;
}

mglu_status mglu_validate_activation(const char *what, mglu_activation activation, float silu_beta)
{
    if (!mglu_activation_name(activation))
        return INVALID("%s: unknown activation %d", what, (int)activation);
    if (!mglu_is_finite(silu_beta))
        return INVALID("%s: silu_beta is not finite", what);
    if (silu_beta != 0 && activation != MGLU_ACTIVATION_SILU)
        return INVALID("%s: silu_beta is set, but the activation is %s", what, mglu_activation_name(activation));
    return MGLU_OK;
}

mglu_status mglu_validate_layer(const mglu_packed_weights *shape, const mglu_layer_desc *desc, mglu_layer_plan *plan)
{
    mglu_status status = mglu_validate_activation("layer", desc->activation, desc->silu_beta);

    if (status != MGLU_OK)
        return status;
    if (!mglu_dtype_size(desc->x_dtype) || !mglu_dtype_size(desc->y_dtype))
        return INVALID("layer: x_dtype and y_dtype must be f32, f16 or bf16");
    if (desc->top_k < 0 || desc->top_k > shape->n_masks)
        return INVALID("layer: top_k is %d, must be 0..%d", desc->top_k, shape->n_masks);
    if (desc->max_batch < 1 || desc->max_batch > MGLU_MAX_BATCH)
        return INVALID("layer: max_batch is %lld, must be 1..%lld", (long long)desc->max_batch,
                       (long long)MGLU_MAX_BATCH);
    if (desc->reserved != 0 || desc->flags & ~(uint32_t)(MGLU_LAYER_REPRODUCIBLE | MGLU_LAYER_ALLOW_QUANTISED_X))
        return INVALID("layer: unknown flags, or reserved is not 0");
    *plan = (mglu_layer_plan){.struct_size = sizeof *plan, .desc = *desc, .shape = shape};
    if (desc->silu_beta == 0)
        plan->desc.silu_beta = 1;
    return MGLU_OK;
}

static mglu_status check_input(const char *name, mglu_input *input, int64_t batch, int64_t columns, size_t element,
                               struct memory_rows *rows)
{
    return mglu_rows_check("forward", name, input->data, input->byte_offset, &input->row_stride, batch, columns,
                           element, rows);
}

static mglu_status check_routing(const mglu_layer *layer, mglu_forward_args *args, struct memory_rows rows[2])
{
    int32_t top_k = layer->plan.desc.top_k;
    mglu_status status;

    if (!args->routing_ids.data != !args->routing_weights.data)
        return INVALID("forward: routing_ids and routing_weights must be given together");
    if (args->routing_ids.data && top_k == 0)
        return INVALID("forward: routing is given, but the layer has top_k 0");
    if (!args->routing_ids.data && top_k > 0 && !layer->weights->packed.router.data)
        return INVALID("forward: the layer has top_k %d and no router, so routing must be given", top_k);
    if (!args->routing_ids.data)
        return MGLU_OK;
    status = check_input("routing_ids", &args->routing_ids, args->batch, top_k, sizeof(int32_t), &rows[0]);
    if (status == MGLU_OK)
        status = check_input("routing_weights", &args->routing_weights, args->batch, top_k, sizeof(float), &rows[1]);
    return status;
}

/* What is sufficient for max_batch is so for every batch; other sizes are compared with that of the batch. */
static mglu_status check_workspace(const mglu_layer *layer, const mglu_forward_args *args)
{
    const size_t given = args->workspace ? args->workspace_size : 0;
    size_t needed = layer->workspace_size;

    if (given < needed)
        needed = mglu_layer_workspace_size_for(layer, args->batch);
    if (given < needed)
        return INVALID("forward: the workspace has %zu bytes, a batch of %lld needs %zu", given, (long long)args->batch,
                       needed);
    if (needed == 0)
        return MGLU_OK;
    if (layer->weights->device->info.host_memory && (uintptr_t)args->workspace % 64 != 0)
        return INVALID("forward: the workspace is not aligned to 64 bytes");
    return MGLU_OK;
}

mglu_status mglu_validate_forward(const mglu_layer *layer, mglu_forward_args *args, int has_output)
{
    const mglu_layer_desc *desc = &layer->plan.desc;
    const mglu_packed_weights *shape = layer->plan.shape;
    int64_t columns = shape->output_size ? shape->output_size : shape->intermediate_size;
    enum { X, RESIDUAL, IDS, ROUTING_WEIGHTS, WORKSPACE, OTHERS };
    struct memory_rows y = {0}, others[OTHERS] = {{0}};
    mglu_status status = MGLU_OK;
    size_t workspace_bytes;

    if (has_output)
        status = mglu_rows_check("forward", "y", args->y.data, args->y.byte_offset, &args->y.row_stride, args->batch,
                                 columns, mglu_dtype_size(desc->y_dtype), &y);
    if (status == MGLU_OK)
        status =
            check_input("x", &args->x, args->batch, shape->hidden_size, mglu_dtype_size(desc->x_dtype), &others[X]);
    if (status == MGLU_OK && args->residual.data)
        status = check_input("residual", &args->residual, args->batch, columns, mglu_dtype_size(desc->y_dtype),
                             &others[RESIDUAL]);
    if (status == MGLU_OK)
        status = check_routing(layer, args, &others[IDS]);
    if (status == MGLU_OK && has_output)
        status = check_workspace(layer, args);
    if (status != MGLU_OK || !has_output || !layer->weights->device->info.host_memory)
        return status;
    /* y may overlap only a residual that is y itself. */
    if (others[RESIDUAL].first == y.first && others[RESIDUAL].stride == y.stride)
        others[RESIDUAL].count = 0;
    workspace_bytes = args->workspace_size < layer->workspace_size ? args->workspace_size : layer->workspace_size;
    others[WORKSPACE] = memory_block("the workspace", args->workspace, workspace_bytes);
    return mglu_rows_check_overlap("forward", &y, others, OTHERS);
}
