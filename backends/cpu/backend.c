/* SPDX-License-Identifier: MIT */
#include "backends/builtin.h"
#include "backends/cpu/train.h"

const mglu_backend_fns mglu_fns_cpu = {
    .abi = MGLU_BACKEND_ABI,
    .struct_size = sizeof(mglu_backend_fns),
    .name = "cpu",
    .open = mglu_cpu_open,
    .close = mglu_cpu_close,
    .device_count = mglu_cpu_device_count,
    .device_info = mglu_cpu_device_info,
    .supports = mglu_cpu_supports,
    .weights_create = mglu_cpu_weights_create,
    .weights_destroy = mglu_cpu_weights_destroy,
    .weights_bytes = mglu_cpu_weights_bytes,
    .queue_create = mglu_cpu_queue_create,
    .queue_wait = mglu_cpu_queue_wait,
    .queue_destroy = mglu_cpu_queue_destroy,
    .layer_create = mglu_cpu_layer_create,
    .layer_destroy = mglu_cpu_layer_destroy,
    .workspace_size = mglu_cpu_workspace_size,
    .layer_accuracy = mglu_cpu_layer_accuracy,
    .forward = mglu_cpu_forward,
    .queue_poll = mglu_cpu_queue_wait, /* work is done when forward returns */
    .queue_notify = mglu_cpu_queue_notify,
    .train_create = mglu_cpu_train_create,
    .train_destroy = mglu_cpu_train_destroy,
    .train_workspace_size = mglu_cpu_train_workspace_size,
    .train_saved_size = mglu_cpu_train_saved_size,
    .train_forward = mglu_cpu_train_forward,
    .train_backward = mglu_cpu_train_backward,
};
