/* SPDX-License-Identifier: MIT */
#ifndef MGLU_REF_H
#define MGLU_REF_H

#include <mglu/backend.h>

#include <stdatomic.h>

/* The reference backend: plain loops in double on the stored inputs. It is the oracle, and is never tuned. */

struct mglu_ref_backend {
    const mglu_host *host;
};

struct mglu_ref_queue {
    atomic_int bad_routing; /* sticky until the next wait */
};

struct mglu_ref_layer {
    mglu_layer_desc desc;
    mglu_packed_weights packed;
};

/* device.c */
mglu_status mglu_ref_open(const mglu_host *host, void **backend);
void mglu_ref_close(void *backend);
int32_t mglu_ref_device_count(void *backend);
mglu_status mglu_ref_device_info(void *backend, int32_t ordinal, mglu_backend_device *info);
mglu_status mglu_ref_queue_create(void *backend, int32_t ordinal, const mglu_queue_desc *desc, void **queue);
mglu_status mglu_ref_queue_wait(void *backend, void *queue);
mglu_status mglu_ref_queue_notify(void *backend, void *queue, mglu_queue_callback callback, void *user);
void mglu_ref_queue_destroy(void *backend, void *queue);

/* weights.c */
mglu_status mglu_ref_weights_create(void *backend, int32_t ordinal, const mglu_packed_weights *packed, void **weights);
void mglu_ref_weights_destroy(void *backend, void *weights);
uint64_t mglu_ref_weights_bytes(void *backend, const void *weights);

/* layer.c */
mglu_status mglu_ref_supports(void *backend, int32_t ordinal, const mglu_layer_plan *plan);
mglu_status mglu_ref_layer_create(void *backend, int32_t ordinal, const mglu_layer_plan *plan, void *weights,
                                  void **layer);
void mglu_ref_layer_destroy(void *backend, void *layer);
size_t mglu_ref_workspace_size(void *backend, int32_t ordinal, const mglu_layer_plan *plan, int64_t batch);
mglu_accuracy mglu_ref_layer_accuracy(void *backend, const void *layer);
/* Elements in a row of y. */
int64_t mglu_ref_output_columns(const mglu_packed_weights *packed);

/* forward.c */
mglu_status mglu_ref_forward(void *backend, void *layer, void *queue, const mglu_forward_args *args);
mglu_status mglu_ref_forward_reference(void *backend, void *layer, const mglu_forward_args *args,
                                       mglu_accuracy accuracy, double *want, double *tolerance);

/* train.c */
mglu_status mglu_ref_train_create(void *backend, int32_t ordinal, const mglu_train_desc *desc, void **train);
void mglu_ref_train_destroy(void *backend, void *train);
size_t mglu_ref_train_workspace_size(void *backend, const void *train, int64_t batch);
size_t mglu_ref_train_saved_size(void *backend, const void *train, int64_t batch);
mglu_status mglu_ref_train_forward(void *backend, void *train, void *queue, const mglu_train_forward_args *args);
mglu_status mglu_ref_train_backward(void *backend, void *train, void *queue, const mglu_train_backward_args *args);
mglu_status mglu_ref_train_reference(void *backend, void *train, const mglu_train_reference_args *args);

#endif
