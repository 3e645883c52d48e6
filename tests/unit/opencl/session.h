/* SPDX-License-Identifier: MIT */
#ifndef MGLU_TESTS_OPENCL_SESSION_H
#define MGLU_TESTS_OPENCL_SESSION_H

#include "fake_driver.h"

#include "../sample.h"
#include "common/dispatch/objects.h"

/** A layer with every part, whose forward launches every kernel. */
static const struct sample_shape whole = {.kind = MGLU_KIND_MASKED,
                                          .dtype = MGLU_DTYPE_F16,
                                          .h = 40,
                                          .d = 300,
                                          .out = 7,
                                          .n_masks = 3,
                                          .parts = WITH_BIASES | WITH_ROUTER | WITH_DOWN};

static const mglu_layer_desc routed = {.struct_size = sizeof routed, .top_k = 2, .max_batch = 4};

/** A context that has the backend "fake". */
static inline mglu_status open_fake_context(const mglu_context_desc *desc, struct rig *rig)
{
    mglu_status status = mglu_context_create(desc, &rig->context);

    if (status == MGLU_OK)
        status = mglu_context_lock_devices(rig->context, NULL);
    if (status != MGLU_OK)
        return status;
    status = mglu_context_add_backend(rig->context, fake_backend());
    pthread_mutex_unlock(&rig->context->lock);
    return status;
}

/** A host's use of the backend up to a layer that can run. The first status that is not MGLU_OK. */
static inline mglu_status make_fake_rig(const mglu_context_desc *desc, const struct sample *sample, struct rig *rig)
{
    mglu_status status = open_fake_context(desc, rig);

    if (status == MGLU_OK)
        status = mglu_device_pick(rig->context, "fake", &rig->device);
    if (status == MGLU_OK)
        status = mglu_queue_create(rig->device, NULL, &rig->queue);
    if (status == MGLU_OK)
        status = mglu_weights_create(rig->device, &sample->desc, &rig->weights);
    if (status == MGLU_OK)
        status = mglu_layer_create(rig->weights, &routed, &rig->layer);
    if (status == MGLU_OK)
        status = mglu_memory_create(rig->device, mglu_layer_workspace_size(rig->layer), &rig->workspace);
    return status;
}

/** One forward on memory of the device. */
static inline mglu_status run_fake(struct rig *rig, mglu_memory *x, mglu_memory *y)
{
    return rig_forward(rig,
                       (mglu_forward_args){.batch = 1, .x.data = mglu_memory_data(x), .y.data = mglu_memory_data(y)});
}

#endif
