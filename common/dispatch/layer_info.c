/* SPDX-License-Identifier: MIT */
#include "common/dispatch/objects.h"

static uint64_t down_bytes(const mglu_packed_weights *packed)
{
    return mglu_packed_weight_size(packed->dtype, packed->output_size, packed->intermediate_size) +
           mglu_packed_scale_size(packed->dtype, packed->output_size, packed->intermediate_size);
}

/* A masked layer needs a sum over all weights and one over those of each mask; their difference is the value. */
static uint64_t operations(const mglu_layer_plan *plan)
{
    const mglu_packed_weights *shape = plan->shape;
    const uint64_t d = (uint64_t)shape->intermediate_size, masks = (uint64_t)shape->n_masks;
    const uint64_t terms = plan->desc.top_k ? (uint64_t)plan->desc.top_k : masks;
    const uint64_t sums = shape->kind == MGLU_KIND_PLAIN ? 2 : 1 + terms;

    return 2 * d * (sums * (uint64_t)shape->hidden_size + (uint64_t)shape->output_size);
}

static uint64_t token_bytes(const mglu_layer_plan *plan)
{
    const mglu_packed_weights *shape = plan->shape;
    const int64_t columns = shape->output_size ? shape->output_size : shape->intermediate_size;

    return (uint64_t)shape->hidden_size * mglu_dtype_size(plan->desc.x_dtype) +
           (uint64_t)columns * mglu_dtype_size(plan->desc.y_dtype);
}

mglu_status mglu_layer_get_info(const mglu_layer *layer, mglu_layer_info *info)
{
    mglu_layer_info known;

    if (!layer)
        return mglu_fail(MGLU_ERROR_INVALID_ARGUMENT, "layer is NULL");
    known = (mglu_layer_info){
        .struct_size = sizeof known,
        .accuracy = mglu_layer_accuracy(layer),
        .workspace_size = layer->workspace_size,
        .operations = operations(&layer->plan),
        .weight_bytes = mglu_projection_bytes(layer->plan.shape) + down_bytes(layer->plan.shape),
        .token_bytes = token_bytes(&layer->plan),
        .details = text_or_empty(layer->weights->device->info.details),
    };
    return mglu_struct_write("mglu_layer_info", info, MGLU_FIRST_SIZE(mglu_layer_info, details), &known, sizeof known);
}
