/* SPDX-License-Identifier: MIT */
#include "backends/builtin.h"
#include "backends/opencl/opencl.h"

const mglu_backend_fns mglu_fns_opencl = {
    .abi = MGLU_BACKEND_ABI,
    .struct_size = sizeof(mglu_backend_fns),
    .name = "opencl",
    .open = mglu_opencl_open,
    .close = mglu_opencl_close,
    .device_count = mglu_opencl_device_count,
    .device_info = mglu_opencl_device_info,
    .supports = mglu_opencl_supports,
    .weights_create = mglu_opencl_weights_create,
    .weights_destroy = mglu_opencl_weights_destroy,
    .weights_bytes = mglu_opencl_weights_bytes,
    .queue_create = mglu_opencl_queue_create,
    .queue_wait = mglu_opencl_queue_wait,
    .queue_destroy = mglu_opencl_queue_destroy,
    .layer_create = mglu_opencl_layer_create,
    .layer_destroy = mglu_opencl_layer_destroy,
    .layer_workspace_size = mglu_opencl_layer_workspace_size,
    .layer_accuracy = mglu_opencl_layer_accuracy,
    .forward = mglu_opencl_forward,
    .memory_allocate = mglu_opencl_memory_allocate,
    .memory_release = mglu_opencl_memory_release,
    .memory_write = mglu_opencl_memory_write,
    .memory_read = mglu_opencl_memory_read,
};
