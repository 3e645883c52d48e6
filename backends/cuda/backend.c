/* SPDX-License-Identifier: MIT */
#include "backends/builtin.h"
#include "backends/cuda/cuda_backend.h"

const mglu_backend_fns mglu_fns_cuda = {
    .abi = MGLU_BACKEND_ABI,
    .struct_size = sizeof(mglu_backend_fns),
    .name = "cuda",
    .open = mglu_cuda_open,
    .close = mglu_cuda_close,
    .device_count = mglu_cuda_device_count,
    .device_info = mglu_cuda_device_info,
    .supports = mglu_cuda_supports,
    .weights_create = mglu_cuda_weights_create,
    .weights_destroy = mglu_cuda_weights_destroy,
    .weights_bytes = mglu_cuda_weights_bytes,
    .queue_create = mglu_cuda_queue_create,
    .queue_wait = mglu_cuda_queue_wait,
    .queue_destroy = mglu_cuda_queue_destroy,
    .layer_create = mglu_cuda_layer_create,
    .layer_destroy = mglu_cuda_layer_destroy,
    .workspace_size = mglu_cuda_workspace_size,
    .layer_accuracy = mglu_cuda_layer_accuracy,
    .forward = mglu_cuda_forward,
    .memory_allocate = mglu_cuda_memory_allocate,
    .memory_release = mglu_cuda_memory_release,
    .memory_write = mglu_cuda_memory_write,
    .memory_read = mglu_cuda_memory_read,
    .queue_poll = mglu_cuda_queue_poll,
    .queue_notify = mglu_cuda_queue_notify,
};
