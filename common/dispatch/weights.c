/* SPDX-License-Identifier: MIT */
#include "common/dispatch/parts.h"

static mglu_status fill_weights(mglu_weights *weights, const mglu_weights_desc *desc)
{
    mglu_device *device = weights->device;
    mglu_status status;

    weights->packed = mglu_weights_shape(desc);
    weights->packed.parallel = desc->parallel ? desc->parallel : &device->context->parallel;
    status = mglu_pack_parts(weights, desc);
    if (status == MGLU_OK)
        status = device->backend.fns->weights_create(device->backend.state, device->ordinal, &weights->packed,
                                                     &weights->state);
    weights->packed.parallel = NULL;
    if (status != MGLU_OK || !device->info.host_memory)
        mglu_free_arena(weights);
    return status;
}

mglu_status mglu_weights_create(mglu_device *device, const mglu_weights_desc *desc, mglu_weights **weights)
{
    mglu_weights_desc known;
    mglu_weights *made;
    mglu_status status;

    if (!device || !weights)
        return mglu_fail(MGLU_ERROR_INVALID_ARGUMENT, "device or weights is NULL");
    *weights = NULL;
    status = mglu_device_check(device);
    if (status == MGLU_OK)
        status = mglu_struct_read("mglu_weights_desc", &known, sizeof known,
                                  MGLU_FIRST_SIZE(mglu_weights_desc, down_bias), desc);
    if (status == MGLU_OK)
        status = mglu_validate_weights(&known);
    if (status != MGLU_OK)
        return status;
    made = mglu_host_allocate(device->context, sizeof *made, _Alignof(mglu_weights));
    if (!made)
        return mglu_fail(MGLU_ERROR_OUT_OF_MEMORY, "out of memory");
    *made = (mglu_weights){.device = device};
    atomic_init(&made->refcount, 1);
    status = fill_weights(made, &known);
    if (status != MGLU_OK) {
        mglu_host_release(device->context, made, sizeof *made, _Alignof(mglu_weights));
        return status;
    }
    mglu_context_hold(device->context);
    *weights = made;
    return MGLU_OK;
}

uint64_t mglu_projection_bytes(const mglu_packed_weights *packed)
{
    uint64_t matrix = mglu_packed_weight_size(packed->dtype, packed->intermediate_size, packed->hidden_size) +
                      mglu_packed_scale_size(packed->dtype, packed->intermediate_size, packed->hidden_size);

    if (packed->kind == MGLU_KIND_PLAIN)
        return 2 * matrix;
    return matrix + mglu_packed_mask_size(packed->n_masks, packed->intermediate_size, packed->hidden_size);
}

mglu_status mglu_weights_get_info(const mglu_weights *weights, mglu_weights_info *info)
{
    const mglu_packed_weights *packed;
    mglu_weights_info known;

    if (!weights)
        return mglu_fail(MGLU_ERROR_INVALID_ARGUMENT, "weights is NULL");
    packed = &weights->packed;
    known = (mglu_weights_info){
        .struct_size = sizeof known,
        .n_masks = packed->n_masks,
        .kind = packed->kind,
        .dtype = packed->dtype,
        .hidden_size = packed->hidden_size,
        .intermediate_size = packed->intermediate_size,
        .output_size = packed->output_size,
        .device_bytes = weights->arena_size + weights->borrowed_size +
                        weights->device->backend.fns->weights_bytes(weights->device->backend.state, weights->state),
        .projection_bytes = mglu_projection_bytes(packed),
        .borrowed_bytes = weights->borrowed_size,
    };
    return mglu_struct_write("mglu_weights_info", info, MGLU_FIRST_SIZE(mglu_weights_info, projection_bytes), &known,
                             sizeof known);
}

void mglu_weights_release(mglu_weights *weights)
{
    mglu_device *device = weights->device;

    if (atomic_fetch_sub_explicit(&weights->refcount, 1, memory_order_acq_rel) != 1)
        return;
    if (is_callable(device))
        device->backend.fns->weights_destroy(device->backend.state, weights->state);
    mglu_free_arena(weights);
    mglu_host_release(device->context, weights, sizeof *weights, _Alignof(mglu_weights));
    mglu_context_release(device->context);
}

void mglu_weights_destroy(mglu_weights **weights)
{
    if (!weights || !*weights)
        return;
    mglu_weights_release(*weights);
    *weights = NULL;
}
