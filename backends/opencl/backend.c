/* SPDX-License-Identifier: MIT */
#include "backends/builtin.h"
#include "backends/opencl/opencl.h"

#include <fenv.h>

/*
 * Drivers may compile and compute on the caller's thread, where its rounding mode and unmasked exceptions must not
 * apply. Each function that calls a driver runs in the default floating-point environment and restores the caller's.
 */
#define IN_DEFAULT_ENVIRONMENT(call)                                                                                   \
    fenv_t callers;                                                                                                    \
    mglu_status status;                                                                                                \
                                                                                                                       \
    fegetenv(&callers);                                                                                                \
    fesetenv(FE_DFL_ENV);                                                                                              \
    status = (call);                                                                                                   \
    fesetenv(&callers);                                                                                                \
    return status

static mglu_status weights_create(void *backend, int32_t ordinal, const mglu_packed_weights *packed, void **weights)
{
    IN_DEFAULT_ENVIRONMENT(mglu_opencl_weights_create(backend, ordinal, packed, weights));
}

static mglu_status queue_create(void *backend, int32_t ordinal, const mglu_queue_desc *desc, void **queue)
{
    IN_DEFAULT_ENVIRONMENT(mglu_opencl_queue_create(backend, ordinal, desc, queue));
}

static mglu_status queue_wait(void *backend, void *queue)
{
    IN_DEFAULT_ENVIRONMENT(mglu_opencl_queue_wait(backend, queue));
}

static mglu_status queue_poll(void *backend, void *queue)
{
    IN_DEFAULT_ENVIRONMENT(mglu_opencl_queue_poll(backend, queue));
}

static mglu_status queue_notify(void *backend, void *queue, mglu_queue_callback callback, void *user)
{
    IN_DEFAULT_ENVIRONMENT(mglu_opencl_queue_notify(backend, queue, callback, user));
}

static mglu_status layer_create(void *backend, int32_t ordinal, const mglu_layer_plan *plan, void *weights,
                                void **layer)
{
    IN_DEFAULT_ENVIRONMENT(mglu_opencl_layer_create(backend, ordinal, plan, weights, layer));
}

static mglu_status forward(void *backend, void *layer, void *queue, const mglu_forward_args *args)
{
    IN_DEFAULT_ENVIRONMENT(mglu_opencl_forward(backend, layer, queue, args));
}

static mglu_status memory_allocate(void *backend, int32_t ordinal, size_t size, void **memory)
{
    IN_DEFAULT_ENVIRONMENT(mglu_opencl_memory_allocate(backend, ordinal, size, memory));
}

static mglu_status memory_write(void *backend, void *queue, void *memory, size_t offset, const void *source,
                                size_t size)
{
    IN_DEFAULT_ENVIRONMENT(mglu_opencl_memory_write(backend, queue, memory, offset, source, size));
}

static mglu_status memory_read(void *backend, void *queue, const void *memory, size_t offset, void *target, size_t size)
{
    IN_DEFAULT_ENVIRONMENT(mglu_opencl_memory_read(backend, queue, memory, offset, target, size));
}

const mglu_backend_fns mglu_fns_opencl = {
    .abi = MGLU_BACKEND_ABI,
    .struct_size = sizeof(mglu_backend_fns),
    .name = "opencl",
    .open = mglu_opencl_open,
    .close = mglu_opencl_close,
    .device_count = mglu_opencl_device_count,
    .device_info = mglu_opencl_device_info,
    .supports = mglu_opencl_supports,
    .weights_create = weights_create,
    .weights_destroy = mglu_opencl_weights_destroy,
    .weights_bytes = mglu_opencl_weights_bytes,
    .queue_create = queue_create,
    .queue_wait = queue_wait,
    .queue_destroy = mglu_opencl_queue_destroy,
    .layer_create = layer_create,
    .layer_destroy = mglu_opencl_layer_destroy,
    .workspace_size = mglu_opencl_workspace_size,
    .layer_accuracy = mglu_opencl_layer_accuracy,
    .forward = forward,
    .memory_allocate = memory_allocate,
    .memory_release = mglu_opencl_memory_release,
    .memory_write = memory_write,
    .memory_read = memory_read,
    .queue_poll = queue_poll,
    .queue_notify = queue_notify,
};
