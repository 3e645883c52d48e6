/* SPDX-License-Identifier: MIT */
#include "common/dispatch/objects.h"

#include <string.h>

#define MEMORY_ALIGNMENT ((size_t)64)

/* Whether the memory is the library's own: the backend then needs no memory functions. */
static int is_host_memory(const mglu_device *device)
{
    return !device->backend.fns->memory_allocate;
}

static mglu_status allocate(mglu_memory *memory)
{
    const mglu_device *device = memory->device;

    if (memory->size == 0)
        return MGLU_OK;
    if (!is_host_memory(device))
        return device->backend.fns->memory_allocate(device->backend.state, device->ordinal, memory->size,
                                                    &memory->data);
    memory->data = mglu_host_allocate(device->context, memory->size, MEMORY_ALIGNMENT);
    if (!memory->data)
        return mglu_fail(MGLU_ERROR_OUT_OF_MEMORY, "no memory for %zu bytes", memory->size);
    return MGLU_OK;
}

mglu_status mglu_memory_create(mglu_device *device, size_t size, mglu_memory **memory)
{
    mglu_memory *made;
    mglu_status status;

    if (!device || !memory)
        return mglu_fail(MGLU_ERROR_INVALID_ARGUMENT, "device or memory is NULL");
    *memory = NULL;
    status = mglu_device_check(device);
    if (status != MGLU_OK)
        return status;
    made = mglu_host_allocate(device->context, sizeof *made, _Alignof(mglu_memory));
    if (!made)
        return mglu_fail(MGLU_ERROR_OUT_OF_MEMORY, "out of memory");
    *made = (mglu_memory){.device = device, .size = size};
    status = allocate(made);
    if (status != MGLU_OK) {
        mglu_host_release(device->context, made, sizeof *made, _Alignof(mglu_memory));
        return status;
    }
    mglu_context_hold(device->context);
    *memory = made;
    return MGLU_OK;
}

void *mglu_memory_data(const mglu_memory *memory)
{
    return memory ? memory->data : NULL;
}

size_t mglu_memory_size(const mglu_memory *memory)
{
    return memory ? memory->size : 0;
}

static mglu_status check_copy(const mglu_memory *memory, const mglu_queue *queue, size_t offset, const void *host,
                              size_t size)
{
    if (!memory || (!host && size))
        return mglu_fail(MGLU_ERROR_INVALID_ARGUMENT, "memory or the host's array is NULL");
    if (!queue && !memory->device->info.host_memory)
        return mglu_fail(MGLU_ERROR_INVALID_ARGUMENT, MGLU_QUEUE_MISSING, memory->device->backend.fns->name);
    if (queue && memory->device != queue->device)
        return mglu_fail(MGLU_ERROR_INVALID_ARGUMENT, "the queue is on another device than the memory");
    if (offset > memory->size || size > memory->size - offset)
        return mglu_fail(MGLU_ERROR_INVALID_ARGUMENT, "%zu bytes at %zu: the memory has %zu bytes", size, offset,
                         memory->size);
    return mglu_device_check_fork(memory->device);
}

mglu_status mglu_memory_write(mglu_memory *memory, mglu_queue *queue, size_t offset, const void *source, size_t size)
{
    mglu_status status = check_copy(memory, queue, offset, source, size);

    if (status != MGLU_OK || size == 0)
        return status;
    if (queue && !is_host_memory(memory->device))
        return memory->device->backend.fns->memory_write(memory->device->backend.state, queue->state, memory->data,
                                                         offset, source, size);
    memcpy((unsigned char *)memory->data + offset, source, size);
    return MGLU_OK;
}

mglu_status mglu_memory_read(const mglu_memory *memory, mglu_queue *queue, size_t offset, void *target, size_t size)
{
    mglu_status status = check_copy(memory, queue, offset, target, size);

    if (status != MGLU_OK || size == 0)
        return status;
    if (queue && !is_host_memory(memory->device))
        return memory->device->backend.fns->memory_read(memory->device->backend.state, queue->state, memory->data,
                                                        offset, target, size);
    memcpy(target, (const unsigned char *)memory->data + offset, size);
    return MGLU_OK;
}

void mglu_memory_destroy(mglu_memory **memory)
{
    mglu_memory *old;
    mglu_context *context;

    if (!memory || !*memory)
        return;
    old = *memory;
    *memory = NULL;
    context = old->device->context;
    if (is_host_memory(old->device))
        mglu_host_release(context, old->data, old->size, MEMORY_ALIGNMENT);
    else if (old->data && is_callable(old->device))
        old->device->backend.fns->memory_release(old->device->backend.state, old->device->ordinal, old->data,
                                                 old->size);
    mglu_host_release(context, old, sizeof *old, _Alignof(mglu_memory));
    mglu_context_release(context);
}
