/* SPDX-License-Identifier: MIT */
#include "use.h"

static const struct sample_shape shape = {
    MGLU_KIND_MASKED, MGLU_DTYPE_F16, USE_H, USE_D, USE_OUT, USE_MASKS, WITH_BIASES | WITH_ROUTER | WITH_DOWN};

static mglu_status make_device_objects(struct use *use, void *native_stream)
{
    const mglu_queue_desc queue = {.struct_size = sizeof queue, .native_stream = native_stream};
    const mglu_layer_desc layer = {.struct_size = sizeof layer, .top_k = USE_TOP_K, .max_batch = USE_BATCH};
    struct rig *rig = &use->rig;
    mglu_status status = mglu_device_pick(rig->context, "cuda", &rig->device);

    if (status == MGLU_OK)
        status = mglu_queue_create(rig->device, &queue, &rig->queue);
    if (status == MGLU_OK)
        status = mglu_weights_create(rig->device, &use->sample.desc, &rig->weights);
    if (status == MGLU_OK)
        status = mglu_layer_create(rig->weights, &layer, &rig->layer);
    if (status == MGLU_OK)
        status = mglu_memory_create(rig->device, mglu_layer_workspace_size(rig->layer), &rig->workspace);
    if (status == MGLU_OK)
        status = mglu_memory_create(rig->device, USE_BATCH * USE_H * sizeof(float), &use->x);
    if (status == MGLU_OK)
        status = mglu_memory_create(rig->device, USE_BATCH * USE_OUT * sizeof(float), &use->y);
    return status;
}

mglu_status use_make(struct use *use, const mglu_context_desc *desc, void *native_stream)
{
    uint32_t seed = 3;
    mglu_status status;
    float *x;

    *use = (struct use){.sample = sample_make(&shape, 7)};
    status = mglu_context_create(desc, &use->rig.context);
    if (status == MGLU_OK)
        status = make_device_objects(use, native_stream);
    if (status != MGLU_OK)
        return status;
    x = sample_array(MGLU_DTYPE_F32, USE_BATCH * USE_H, 1, &seed);
    status = mglu_memory_write(use->x, use->rig.queue, 0, x, USE_BATCH * USE_H * sizeof(float));
    free(x);
    use->args = (mglu_forward_args){.struct_size = sizeof use->args,
                                    .batch = USE_BATCH,
                                    .x.data = mglu_memory_data(use->x),
                                    .y.data = mglu_memory_data(use->y)};
    return status;
}

mglu_status use_forward(struct use *use, float *first)
{
    mglu_status status = rig_forward(&use->rig, use->args);

    if (status == MGLU_OK)
        status = mglu_queue_wait(use->rig.queue);
    if (status == MGLU_OK)
        status = mglu_memory_read(use->y, use->rig.queue, 0, first, sizeof *first);
    return status;
}

void use_free(struct use *use)
{
    mglu_memory_destroy(&use->x);
    mglu_memory_destroy(&use->y);
    rig_free(&use->rig);
    sample_free(&use->sample);
}

mglu_status use_everything(void)
{
    struct use use;
    float first;
    mglu_status status = use_make(&use, NULL, NULL);

    if (status == MGLU_OK)
        status = use_forward(&use, &first);
    use_free(&use);
    return status;
}

void assert_nothing_held(void)
{
    struct fake_balance held = fake_balance();

    if (held.contexts)
        fail_msg("%d contexts are held", held.contexts);
    if (held.allocations)
        fail_msg("%d allocations are held", held.allocations);
    if (held.host_allocations)
        fail_msg("%d host allocations are held", held.host_allocations);
    if (held.streams)
        fail_msg("%d streams are held", held.streams);
    if (held.modules)
        fail_msg("%d modules are held", held.modules);
    if (held.pushed)
        fail_msg("%d contexts are on the stack", held.pushed);
}

int reset(void **state)
{
    fake_reset();
    return 0;
}

int no_leak(void **state)
{
    assert_nothing_held();
    return 0;
}
