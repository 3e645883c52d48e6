/* SPDX-License-Identifier: MIT */
#ifndef MGLU_TEST_SAMPLE_H
#define MGLU_TEST_SAMPLE_H

#include "check.h"

#include <mglu/mglu.h>

#include <stdlib.h>

/* Layers with made-up numbers for the tests: everything of one shape, from one seed. */

/* What a sample has besides W and the masks. */
enum { WITH_BIASES = 1, WITH_ROUTER = 2, WITH_DOWN = 4, WITH_RESIDUAL = 8 };

struct sample_shape {
    mglu_kind kind;
    mglu_dtype dtype;
    int64_t h, d, out; /* out counts WITH_DOWN only */
    int32_t n_masks;
    int parts;
};

struct sample {
    mglu_weights_desc desc;
    void *memory[9]; /* freed by sample_free */
    size_t used;
};

/* A small generator: the same numbers on every machine. In -1..1. */
static inline float sample_number(uint32_t *seed)
{
    *seed = *seed * 1664525u + 1013904223u;
    return ((float)(*seed >> 8) - 8388608.0f) / 8388608.0f;
}

/* An array of numbers in -scale..scale as `dtype`; as f32 where that is quantised. Never NULL. */
static inline void *sample_array(mglu_dtype dtype, size_t count, float scale, uint32_t *seed)
{
    float *numbers = malloc((count + 1) * sizeof *numbers);
    void *array = malloc((count + 1) * sizeof(float));

    if (mglu_dtype_is_quantised(dtype))
        dtype = MGLU_DTYPE_F32;
    assert_non_null(numbers);
    assert_non_null(array);
    for (size_t i = 0; i < count; i++)
        numbers[i] = scale * sample_number(seed);
    assert_ok(mglu_convert(numbers, MGLU_DTYPE_F32, array, dtype, count));
    free(numbers);
    return array;
}

static inline mglu_array sample_matrix(struct sample *sample, mglu_dtype dtype, int64_t rows, int64_t columns,
                                       uint32_t *seed)
{
    void *array = sample_array(dtype, (size_t)(rows * columns), 0.5f, seed);

    sample->memory[sample->used++] = array;
    return (mglu_array){.data = array, .dtype = mglu_dtype_is_quantised(dtype) ? MGLU_DTYPE_F32 : dtype};
}

static inline mglu_mask_array sample_masks(struct sample *sample, size_t count, uint32_t *seed)
{
    uint8_t *masks = malloc(count + 1);

    assert_non_null(masks);
    for (size_t i = 0; i < count; i++)
        masks[i] = sample_number(seed) > 0;
    sample->memory[sample->used++] = masks;
    return (mglu_mask_array){masks, MGLU_MASK_BYTES};
}

static inline struct sample sample_make(const struct sample_shape *shape, uint32_t seed)
{
    int masked = shape->kind == MGLU_KIND_MASKED;
    int64_t terms = masked ? shape->n_masks : 1;
    struct sample sample = {.desc = {.struct_size = sizeof sample.desc,
                                     .kind = shape->kind,
                                     .dtype = shape->dtype,
                                     .hidden_size = shape->h,
                                     .intermediate_size = shape->d,
                                     .n_masks = shape->n_masks}};
    mglu_weights_desc *desc = &sample.desc;

    desc->weight = sample_matrix(&sample, shape->dtype, shape->d, shape->h, &seed);
    if (masked)
        desc->masks = sample_masks(&sample, (size_t)(terms * shape->d * shape->h), &seed);
    else
        desc->value_weight = sample_matrix(&sample, shape->dtype, shape->d, shape->h, &seed);
    if (shape->parts & WITH_BIASES) {
        desc->gate_bias = sample_matrix(&sample, MGLU_DTYPE_F32, terms, shape->d, &seed);
        desc->value_bias = sample_matrix(&sample, MGLU_DTYPE_F16, terms, shape->d, &seed);
    }
    if (shape->parts & WITH_ROUTER)
        desc->router = sample_matrix(&sample, shape->dtype, terms, shape->h, &seed);
    if (shape->parts & WITH_DOWN) {
        desc->output_size = shape->out;
        desc->down = sample_matrix(&sample, shape->dtype, shape->out, shape->d, &seed);
        if (shape->parts & WITH_BIASES)
            desc->down_bias = sample_matrix(&sample, MGLU_DTYPE_BF16, 1, shape->out, &seed);
    }
    return sample;
}

static inline void sample_free(struct sample *sample)
{
    while (sample->used)
        free(sample->memory[--sample->used]);
}

/* One layer on one device with what a forward needs. */
struct rig {
    mglu_context *context;
    mglu_device *device;
    mglu_queue *queue;
    mglu_weights *weights;
    mglu_layer *layer;
    mglu_memory *workspace;
};

static inline struct rig rig_make(const char *backend, const mglu_context_desc *context,
                                  const mglu_weights_desc *weights, const mglu_layer_desc *layer)
{
    struct rig rig = {0};

    assert_ok(mglu_context_create(context, &rig.context));
    assert_ok(mglu_device_pick(rig.context, backend, &rig.device));
    assert_ok(mglu_queue_create(rig.device, NULL, &rig.queue));
    assert_ok(mglu_weights_create(rig.device, weights, &rig.weights));
    assert_ok(mglu_layer_create(rig.weights, layer, &rig.layer));
    assert_ok(mglu_memory_create(rig.device, mglu_layer_workspace_size(rig.layer), &rig.workspace));
    return rig;
}

static inline void rig_free(struct rig *rig)
{
    mglu_memory_destroy(&rig->workspace);
    mglu_layer_destroy(&rig->layer);
    mglu_weights_destroy(&rig->weights);
    mglu_queue_destroy(&rig->queue);
    mglu_context_destroy(&rig->context);
}

static inline mglu_status rig_forward(struct rig *rig, mglu_forward_args args)
{
    args.struct_size = sizeof args;
    args.workspace = mglu_memory_data(rig->workspace);
    args.workspace_size = mglu_memory_size(rig->workspace);
    return mglu_forward(rig->layer, rig->queue, &args);
}

#endif
