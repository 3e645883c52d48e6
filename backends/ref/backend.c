/* SPDX-License-Identifier: MIT */
#include "backends/builtin.h"
#include "backends/ref/ref.h"

const mglu_backend_fns mglu_fns_ref = {
    .abi = MGLU_BACKEND_ABI,
    .struct_size = sizeof(mglu_backend_fns),
    .name = "ref",
    .open = mglu_ref_open,
    .close = mglu_ref_close,
    .device_count = mglu_ref_device_count,
    .device_info = mglu_ref_device_info,
    .supports = mglu_ref_supports,
    .weights_create = mglu_ref_weights_create,
    .weights_destroy = mglu_ref_weights_destroy,
    .weights_bytes = mglu_ref_weights_bytes,
    .queue_create = mglu_ref_queue_create,
    .queue_wait = mglu_ref_queue_wait,
    .queue_destroy = mglu_ref_queue_destroy,
    .layer_create = mglu_ref_layer_create,
    .layer_destroy = mglu_ref_layer_destroy,
    .workspace_size = mglu_ref_workspace_size,
    .layer_accuracy = mglu_ref_layer_accuracy,
    .forward = mglu_ref_forward,
    .forward_reference = mglu_ref_forward_reference,
    .queue_poll = mglu_ref_queue_wait, /* work is done when forward returns */
    .queue_notify = mglu_ref_queue_notify,
    .train_create = mglu_ref_train_create,
    .train_destroy = mglu_ref_train_destroy,
    .train_workspace_size = mglu_ref_train_workspace_size,
    .train_saved_size = mglu_ref_train_saved_size,
    .train_forward = mglu_ref_train_forward,
    .train_backward = mglu_ref_train_backward,
    .train_reference = mglu_ref_train_reference,
};
