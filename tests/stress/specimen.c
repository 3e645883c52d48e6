/* SPDX-License-Identifier: MIT */
#include "specimen.h"

#include "require.h"

#include <stdlib.h>

/* W has more than the 256 KiB from which the CPU backend divides a layer among threads, but for the last. */
static const struct shape {
    mglu_kind kind;
    mglu_dtype dtype;
    int64_t h, d, out, batch;
    int32_t n_masks, top_k;
    uint32_t flags;
} shapes[SPECIMENS] = {
    {MGLU_KIND_MASKED, MGLU_DTYPE_F32, 331, 259, 0, 1, 4, 0, 0},
    {MGLU_KIND_MASKED, MGLU_DTYPE_F16, 512, 300, 0, 1, 2, 0, 0},
    {MGLU_KIND_PLAIN, MGLU_DTYPE_BF16, 416, 333, 97, 9, 0, 0, 0},
    {MGLU_KIND_PLAIN, MGLU_DTYPE_Q8_0, 512, 352, 0, 2, 0, 0, MGLU_LAYER_ALLOW_QUANTISED_X},
    {MGLU_KIND_MASKED, MGLU_DTYPE_Q4_0, 640, 896, 0, 1, 1, 0, MGLU_LAYER_ALLOW_QUANTISED_X},
    {MGLU_KIND_MASKED, MGLU_DTYPE_BF16, 416, 333, 0, 16, 3, 0, 0},
    {MGLU_KIND_MASKED, MGLU_DTYPE_F16, 300, 450, 0, 3, 4, 2, MGLU_LAYER_REPRODUCIBLE},
    {MGLU_KIND_MASKED, MGLU_DTYPE_F32, 33, 17, 5, 2, 2, 1, 0},
};

float *specimen_numbers(size_t count, uint32_t *seed)
{
    float *array = malloc((count + 1) * sizeof *array);

    require(array != NULL);
    for (size_t i = 0; i < count; i++) {
        *seed = *seed * 1664525u + 1013904223u;
        array[i] = (float)(*seed >> 8) / 16777216.0f - 0.5f;
    }
    return array;
}

static uint8_t *mask_bytes(size_t count, uint32_t *seed)
{
    uint8_t *array = malloc(count + 1);

    require(array != NULL);
    for (size_t i = 0; i < count; i++) {
        *seed = *seed * 1664525u + 1013904223u;
        array[i] = *seed >> 31;
    }
    return array;
}

static void make_arrays(struct specimen *specimen, const struct shape *shape, uint32_t *seed)
{
    const size_t elements = (size_t)(shape->h * shape->d);
    mglu_weights_desc *desc = &specimen->weights;

    desc->weight.data = specimen->memory[0] = specimen_numbers(elements, seed);
    if (shape->kind == MGLU_KIND_MASKED) {
        specimen->memory[1] = mask_bytes((size_t)shape->n_masks * elements, seed);
        desc->masks = (mglu_mask_array){specimen->memory[1], MGLU_MASK_BYTES};
    } else {
        desc->value_weight.data = specimen->memory[1] = specimen_numbers(elements, seed);
    }
    if (shape->top_k > 0)
        desc->router.data = specimen->memory[2] = specimen_numbers((size_t)(shape->n_masks * shape->h), seed);
    if (shape->out > 0)
        desc->down.data = specimen->memory[3] = specimen_numbers((size_t)(shape->out * shape->d), seed);
}

void specimen_make(struct specimen *specimen, size_t number)
{
    const struct shape *shape = &shapes[number];
    uint32_t seed = (uint32_t)number + 1;

    *specimen = (struct specimen){
        .weights = {.struct_size = sizeof specimen->weights,
                    .kind = shape->kind,
                    .dtype = shape->dtype,
                    .hidden_size = shape->h,
                    .intermediate_size = shape->d,
                    .output_size = shape->out,
                    .n_masks = shape->n_masks},
        .layer = {.struct_size = sizeof specimen->layer,
                  .flags = shape->flags,
                  .top_k = shape->top_k,
                  .max_batch = shape->batch},
        .x_size = (size_t)(shape->batch * shape->h) * sizeof(float),
        .y_size = (size_t)(shape->batch * (shape->out ? shape->out : shape->d)) * sizeof(float),
    };
    make_arrays(specimen, shape, &seed);
    specimen->x = specimen_numbers((size_t)(shape->batch * shape->h), &seed);
}

void specimen_free(struct specimen *specimen)
{
    for (size_t i = 0; i < sizeof specimen->memory / sizeof specimen->memory[0]; i++)
        free(specimen->memory[i]);
    free(specimen->x);
}

void user_open(struct user *user, mglu_device *device, const struct specimen *specimen)
{
    user->specimen = specimen;
    user->borrows_weights = user->weights != NULL;
    user->borrows_layer = user->layer != NULL;
    if (!user->weights)
        require_ok(mglu_weights_create(device, &specimen->weights, &user->weights));
    if (!user->layer)
        require_ok(mglu_layer_create(user->weights, &specimen->layer, &user->layer));
    require_ok(mglu_queue_create(device, NULL, &user->queue));
    require_ok(mglu_memory_create(device, mglu_layer_workspace_size(user->layer), &user->workspace));
    require_ok(mglu_memory_create(device, specimen->x_size, &user->x));
    require_ok(mglu_memory_create(device, specimen->y_size, &user->y));
    require_ok(mglu_memory_write(user->x, user->queue, 0, specimen->x, specimen->x_size));
}

void user_close(struct user *user)
{
    mglu_memory_destroy(&user->workspace);
    if (!user->borrows_weights)
        mglu_weights_destroy(&user->weights); /* before the layer, which holds a reference */
    if (!user->borrows_layer)
        mglu_layer_destroy(&user->layer);
    mglu_memory_destroy(&user->y);
    mglu_memory_destroy(&user->x);
    mglu_queue_destroy(&user->queue);
}

void user_forward(struct user *user, float *y)
{
    const mglu_forward_args args = {
        .struct_size = sizeof args,
        .batch = user->specimen->layer.max_batch,
        .x.data = mglu_memory_data(user->x),
        .y.data = mglu_memory_data(user->y),
        .workspace = mglu_memory_data(user->workspace),
        .workspace_size = mglu_memory_size(user->workspace),
    };

    require_ok(mglu_forward(user->layer, user->queue, &args));
    require_ok(mglu_queue_wait(user->queue));
    require_ok(mglu_memory_read(user->y, user->queue, 0, y, user->specimen->y_size));
}

void specimen_compute(const struct specimen *specimen, mglu_device *device, float *y)
{
    struct user user = {0};

    user_open(&user, device, specimen);
    user_forward(&user, y);
    user_close(&user);
}

mglu_device *open_device(mglu_context **context, const char *backend, const char *max_isa,
                         const mglu_parallel *parallel)
{
    const mglu_context_desc desc = {.struct_size = sizeof desc, .max_isa = max_isa, .parallel = parallel};
    mglu_device *device;

    require_ok(mglu_context_create(&desc, context));
    require_ok(mglu_device_pick(*context, backend, &device));
    return device;
}
