/* SPDX-License-Identifier: MIT */
#include "common/dispatch/objects.h"

mglu_status mglu_queue_create(mglu_device *device, const mglu_queue_desc *desc, mglu_queue **queue)
{
    mglu_queue_desc known = {.struct_size = sizeof known};
    mglu_queue *made;
    mglu_status status = MGLU_OK;

    if (!device || !queue)
        return mglu_fail(MGLU_ERROR_INVALID_ARGUMENT, "device or queue is NULL");
    *queue = NULL;
    if (desc)
        status = mglu_struct_read("mglu_queue_desc", &known, sizeof known,
                                  MGLU_FIRST_SIZE(mglu_queue_desc, native_stream), desc);
    if (status == MGLU_OK)
        status = mglu_device_check(device);
    if (status != MGLU_OK)
        return status;
    made = mglu_host_allocate(device->context, sizeof *made, _Alignof(mglu_queue));
    if (!made)
        return mglu_fail(MGLU_ERROR_OUT_OF_MEMORY, "out of memory");
    *made = (mglu_queue){.device = device};
    status = device->backend.fns->queue_create(device->backend.state, device->ordinal, &known, &made->state);
    if (status != MGLU_OK) {
        mglu_host_release(device->context, made, sizeof *made, _Alignof(mglu_queue));
        return status;
    }
    mglu_context_hold(device->context);
    *queue = made;
    return MGLU_OK;
}

mglu_status mglu_queue_wait(mglu_queue *queue)
{
    mglu_status status;

    if (!queue)
        return mglu_fail(MGLU_ERROR_INVALID_ARGUMENT, "queue is NULL");
    status = mglu_device_check_fork(queue->device);
    if (status != MGLU_OK)
        return status;
    return queue->device->backend.fns->queue_wait(queue->device->backend.state, queue->state);
}

void mglu_queue_destroy(mglu_queue **queue)
{
    mglu_context *context;
    mglu_queue *old;

    if (!queue || !*queue)
        return;
    old = *queue;
    *queue = NULL;
    context = old->device->context;
    if (is_callable(old->device))
        old->device->backend.fns->queue_destroy(old->device->backend.state, old->state);
    mglu_host_release(context, old, sizeof *old, _Alignof(mglu_queue));
    mglu_context_release(context);
}
