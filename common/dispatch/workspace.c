/* SPDX-License-Identifier: MIT */
#include "common/dispatch/objects.h"

#define WORKSPACE_ALIGNMENT ((size_t)64)

static mglu_status allocate(mglu_workspace *workspace)
{
    const mglu_device *device = workspace->device;

    if (workspace->size == 0)
        return MGLU_OK;
    if (!workspace->is_host_memory)
        return device->backend.fns->memory_allocate(device->backend.state, device->ordinal, workspace->size,
                                                    &workspace->data);
    workspace->data = mglu_host_allocate(device->context, workspace->size, WORKSPACE_ALIGNMENT);
    if (!workspace->data)
        return mglu_fail(MGLU_ERROR_OUT_OF_MEMORY, "no memory for a workspace of %zu bytes", workspace->size);
    return MGLU_OK;
}

mglu_status mglu_workspace_create(mglu_layer *layer, mglu_workspace **workspace)
{
    mglu_workspace *made;
    mglu_device *device;
    mglu_status status;

    if (!layer || !workspace)
        return mglu_fail(MGLU_ERROR_INVALID_ARGUMENT, "layer or workspace is NULL");
    *workspace = NULL;
    device = layer->weights->device;
    status = mglu_device_check(device);
    if (status != MGLU_OK)
        return status;
    made = mglu_host_allocate(device->context, sizeof *made, _Alignof(mglu_workspace));
    if (!made)
        return mglu_fail(MGLU_ERROR_OUT_OF_MEMORY, "out of memory");
    *made = (mglu_workspace){
        .device = device, .size = layer->workspace_size, .is_host_memory = !device->backend.fns->memory_allocate};
    status = allocate(made);
    if (status != MGLU_OK) {
        mglu_host_release(device->context, made, sizeof *made, _Alignof(mglu_workspace));
        return status;
    }
    mglu_context_hold(device->context);
    *workspace = made;
    return MGLU_OK;
}

void mglu_workspace_attach(const mglu_workspace *workspace, mglu_forward_args *args)
{
    args->workspace = workspace->data;
    args->workspace_size = workspace->size;
}

void mglu_workspace_destroy(mglu_workspace **workspace)
{
    mglu_workspace *old;
    mglu_context *context;

    if (!workspace || !*workspace)
        return;
    old = *workspace;
    *workspace = NULL;
    context = old->device->context;
    if (old->is_host_memory)
        mglu_host_release(context, old->data, old->size, WORKSPACE_ALIGNMENT);
    else if (old->data)
        old->device->backend.fns->memory_release(old->device->backend.state, old->device->ordinal, old->data,
                                                 old->size);
    mglu_host_release(context, old, sizeof *old, _Alignof(mglu_workspace));
    mglu_context_release(context);
}
