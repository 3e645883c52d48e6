/* SPDX-License-Identifier: MIT */
#ifndef MGLU_TEST_GGML_SAMPLE_H
#define MGLU_TEST_GGML_SAMPLE_H

#include "examples/ggml/mglu_ggml.h"
#include "tests/unit/check.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Layers in ggml's memory with made-up numbers, and y that the reference backend wants of them. */

enum { HIDDEN = 256, INTERMEDIATE = 1024, OUTPUT = 96, MOST_TOKENS = 64, MOST_MASKS = 4 };

struct type_case {
    enum ggml_type type;
    double z_rounding; /* the relative error of z as ggml multiplies it */
    bool has_down;     /* z in q8_0 has an error of another kind: no down-projection */
};

static const struct type_case types[] = {
    {GGML_TYPE_F32, 0, true},   {GGML_TYPE_F16, 0x1p-11, true}, {GGML_TYPE_BF16, 0x1p-8, true},
    {GGML_TYPE_Q8_0, 0, false}, {GGML_TYPE_Q4_0, 0, false},
};

/* A layer in ggml's memory, and as this library's weights. */
struct sample {
    const struct type_case *type;
    int n_masks; /* 0: a plain GLU */
    struct ggml_context *tensors;
    struct ggml_tensor *x, *gates[MOST_MASKS], *values[MOST_MASKS], *down;
    float *down_values;
    mglu_weights_desc desc;
    void *masks, *packed[3];
    double *want, *tolerance; /* [MOST_TOKENS][columns] */
    int64_t columns;          /* of y */
};

static inline float draw(void)
{
    static uint64_t state = 1;

    state = state * 6364136223846793005u + 1442695040888963407u;
    return (float)(int32_t)(state >> 32) * 0x1p-31f;
}

static inline float *draw_values(int64_t count)
{
    float *values = test_malloc(sizeof *values * (size_t)count);

    for (int64_t i = 0; i < count; i++)
        values[i] = draw() * 0.0625f;
    return values;
}

/* Starts at a multiple of 64 bytes, so that it can be used in place. */
static inline struct ggml_tensor *new_matrix(struct ggml_context *tensors, enum ggml_type type, int64_t columns,
                                             int64_t rows, const float *values)
{
    const size_t size = ggml_row_size(type, columns) * (size_t)rows;
    const void *memory = ggml_new_tensor_1d(tensors, GGML_TYPE_I8, (int64_t)size + 63)->data;

    ggml_set_no_alloc(tensors, true);
    struct ggml_tensor *tensor = ggml_new_tensor_2d(tensors, type, columns, rows);
    ggml_set_no_alloc(tensors, false);
    tensor->data = (void *)(((uintptr_t)memory + 63) / 64 * 64);
    if (type == GGML_TYPE_F32)
        memcpy(tensor->data, values, ggml_nbytes(tensor));
    else
        ggml_quantize_chunk(type, values, tensor->data, 0, rows, columns, NULL);
    return tensor;
}

static inline struct ggml_tensor *new_x(struct ggml_context *tensors)
{
    struct ggml_tensor *x = ggml_new_tensor_2d(tensors, GGML_TYPE_F32, HIDDEN, MOST_TOKENS);
    float *values = x->data;

    for (int i = 0; i < HIDDEN * MOST_TOKENS; i++)
        values[i] = (i % 32 == 0 ? 127 : truncf(draw() * 127)) / 16;
    return x;
}

static inline void describe(const struct ggml_tensor *tensor, mglu_array *matrix, void **packed)
{
    assert_ok(mglu_ggml_matrix(tensor, matrix, packed));
}

static inline void make_plain(struct sample *sample)
{
    for (int i = 0; i < 2; i++) {
        float *values = draw_values(INTERMEDIATE * HIDDEN);
        struct ggml_tensor *matrix = new_matrix(sample->tensors, sample->type->type, HIDDEN, INTERMEDIATE, values);
        *(i ? sample->values : sample->gates) = matrix;
        describe(matrix, i ? &sample->desc.value_weight : &sample->desc.weight, &sample->packed[i]);
        test_free(values);
    }
}

/* The matrices of ggml's layer have zeros where the mask, or its complement, does. */
static inline void make_masked(struct sample *sample)
{
    const int64_t count = INTERMEDIATE * HIDDEN;
    float *values = draw_values(count), *selected = test_malloc(sizeof *selected * (size_t)count);
    uint8_t *masks = sample->masks = test_malloc((size_t)(sample->n_masks * count));

    for (int i = 0; i < sample->n_masks; i++)
        for (int side = 1; side >= 0; side--) {
            for (int64_t j = 0; j < count; j++) {
                if (side)
                    masks[i * count + j] = draw() > 0;
                selected[j] = masks[i * count + j] == side ? values[j] : 0;
            }
            (side ? sample->gates : sample->values)[i] =
                new_matrix(sample->tensors, sample->type->type, HIDDEN, INTERMEDIATE, selected);
        }
    describe(new_matrix(sample->tensors, sample->type->type, HIDDEN, INTERMEDIATE, values), &sample->desc.weight,
             &sample->packed[0]);
    sample->desc.masks = (mglu_mask_array){masks, MGLU_MASK_BYTES};
    test_free(selected);
    test_free(values);
}

static inline void make_down(struct sample *sample)
{
    if (!sample->type->has_down)
        return;
    sample->down_values = draw_values(OUTPUT * INTERMEDIATE);
    sample->down = new_matrix(sample->tensors, sample->type->type, INTERMEDIATE, OUTPUT, sample->down_values);
    sample->desc.output_size = OUTPUT;
    describe(sample->down, &sample->desc.down, &sample->packed[2]);
}

/* A layer of a device of its own, and all that it needs. */
struct engine {
    mglu_context *context;
    mglu_device *device;
    mglu_weights *weights;
    mglu_layer *layer;
    mglu_memory *workspace;
};

static inline struct engine start(const char *backend, const mglu_weights_desc *desc)
{
    struct engine engine;
    mglu_layer_desc layer = MGLU_LAYER_DESC_INIT;

    layer.max_batch = MOST_TOKENS;
    assert_ok(mglu_context_create(NULL, &engine.context));
    assert_ok(mglu_device_pick(engine.context, backend, &engine.device));
    assert_ok(mglu_weights_create(engine.device, desc, &engine.weights));
    assert_ok(mglu_layer_create(engine.weights, &layer, &engine.layer));
    assert_ok(mglu_memory_create(engine.device, mglu_layer_workspace_size(engine.layer), &engine.workspace));
    return engine;
}

static inline void stop(struct engine *engine)
{
    mglu_memory_destroy(&engine->workspace);
    mglu_layer_destroy(&engine->layer);
    mglu_weights_destroy(&engine->weights);
    mglu_context_destroy(&engine->context);
}

static inline void find_wanted(struct sample *sample)
{
    const size_t count = (size_t)(MOST_TOKENS * sample->columns);
    struct engine reference = start("ref", &sample->desc);
    mglu_forward_args args = MGLU_FORWARD_ARGS_INIT;

    sample->want = test_malloc(sizeof(double) * count);
    sample->tolerance = test_malloc(sizeof(double) * count);
    args.batch = MOST_TOKENS;
    args.x.data = sample->x->data;
    assert_ok(mglu_forward_reference(reference.layer, &args, MGLU_ACCURACY_A, sample->want, sample->tolerance));
    stop(&reference);
}

static inline struct sample make(const struct type_case *type, int n_masks)
{
    struct sample sample = {.type = type,
                            .n_masks = n_masks,
                            .desc = MGLU_WEIGHTS_DESC_INIT,
                            .columns = type->has_down ? OUTPUT : INTERMEDIATE};

    sample.desc.flags = MGLU_WEIGHTS_BORROW;
    sample.desc.kind = n_masks ? MGLU_KIND_MASKED : MGLU_KIND_PLAIN;
    sample.desc.hidden_size = HIDDEN;
    sample.desc.intermediate_size = INTERMEDIATE;
    sample.desc.n_masks = n_masks;
    sample.tensors = ggml_init((struct ggml_init_params){.mem_size = (size_t)32 << 20});
    assert_non_null(sample.tensors);
    sample.x = new_x(sample.tensors);
    if (n_masks)
        make_masked(&sample);
    else
        make_plain(&sample);
    make_down(&sample);
    sample.desc.dtype = sample.desc.weight.dtype;
    find_wanted(&sample);
    return sample;
}

static inline void discard(struct sample *sample)
{
    for (int i = 0; i < 3; i++)
        free(sample->packed[i]);
    ggml_free(sample->tensors);
    if (sample->masks)
        test_free(sample->masks);
    if (sample->down_values)
        test_free(sample->down_values);
    test_free(sample->want);
    test_free(sample->tolerance);
}

#endif
