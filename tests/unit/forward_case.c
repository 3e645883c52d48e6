/* SPDX-License-Identifier: MIT */
#include "forward_case.h"

#include <math.h>
#include <stdio.h>

struct target targets[16];
size_t target_count;

/* The context is kept, as its device owns the names. */
int find_targets(void **state)
{
    mglu_device_info info = {.struct_size = sizeof info};
    mglu_context *context;
    mglu_device *device;

    assert_ok(mglu_context_create(NULL, &context));
    assert_ok(mglu_device_pick(context, "cpu", &device));
    assert_ok(mglu_device_get_info(device, &info));
    for (const char *const *isa = info.instruction_sets; *isa; isa++) {
        assert_true(target_count + 1 < sizeof targets / sizeof targets[0]);
        printf("testing %s\n", *isa);
        targets[target_count++] = (struct target){"cpu", *isa};
    }
    assert_true(target_count > 0);
    targets[target_count++] = (struct target){"ref", NULL};
    *state = context;
    return 0;
}

int forget_targets(void **state)
{
    mglu_context *context = *state;

    mglu_context_destroy(&context);
    return 0;
}

struct rig open_target(const struct target *target, const mglu_weights_desc *weights, const mglu_layer_desc *layer)
{
    mglu_context_desc context = {.struct_size = sizeof context, .max_isa = target->max_isa, .num_threads = 2};

    return rig_make(target->backend, &context, weights, layer);
}

struct buffers make_buffers(const struct shape_case *test, uint32_t seed)
{
    struct buffers buffers = {.columns = test->shape.parts & WITH_DOWN ? test->shape.out : test->shape.d};
    size_t terms = (size_t)(test->batch * test->layer.top_k);

    buffers.x_stride = test->shape.h + GAP;
    buffers.y_stride = buffers.columns + GAP;
    buffers.y_bytes = (size_t)((test->batch + 1) * buffers.y_stride) * mglu_dtype_size(test->layer.y_dtype);
    buffers.x = sample_array(test->layer.x_dtype, (size_t)((test->batch + 1) * buffers.x_stride), 1, &seed);
    buffers.residual = sample_array(test->layer.y_dtype, (size_t)((test->batch + 1) * buffers.y_stride), 4, &seed);
    buffers.y = malloc(buffers.y_bytes);
    memset(buffers.y, CANARY, buffers.y_bytes);
    buffers.ids = malloc((terms + 1) * sizeof *buffers.ids);
    buffers.p = sample_array(MGLU_DTYPE_F32, terms, 1, &seed);
    for (size_t i = 0; i < terms; i++)
        buffers.ids[i] = (int32_t)(i * 7 % (size_t)test->shape.n_masks);
    return buffers;
}

void free_buffers(struct buffers *buffers)
{
    free(buffers->x), free(buffers->residual), free(buffers->y), free(buffers->ids), free(buffers->p);
}

mglu_forward_args make_args(const struct shape_case *test, const struct buffers *buffers)
{
    mglu_forward_args args = {
        .struct_size = sizeof args,
        .batch = test->batch,
        .x = {buffers->x, mglu_dtype_size(test->layer.x_dtype), buffers->x_stride},
        .y = {buffers->y, mglu_dtype_size(test->layer.y_dtype), buffers->y_stride},
    };

    if (test->residual)
        args.residual = (mglu_input){buffers->residual, 0, buffers->y_stride};
    if (test->routing == 2) {
        args.routing_ids.data = buffers->ids;
        args.routing_weights.data = buffers->p;
    }
    return args;
}

float element(const struct shape_case *test, const struct buffers *buffers, int64_t row, int64_t column)
{
    size_t at = (size_t)(1 + row * buffers->y_stride + column) * mglu_dtype_size(test->layer.y_dtype);
    float value;

    assert_ok(mglu_convert(buffers->y + at, test->layer.y_dtype, &value, MGLU_DTYPE_F32, 1));
    return value;
}

static void check_gaps(const struct shape_case *test, const struct buffers *buffers)
{
    size_t size = mglu_dtype_size(test->layer.y_dtype), row = (size_t)buffers->y_stride * size;

    for (size_t i = 0; i < buffers->y_bytes; i++) {
        size_t column = i < size ? row : (i - size) % row;
        int inside = column < (size_t)buffers->columns * size && (i - size) / row < (size_t)test->batch;
        if (!inside && buffers->y[i] != CANARY)
            fail_msg("byte %zu outside y was written", i);
    }
}

static void describe(const struct shape_case *test, const struct target *target, char *text, size_t size)
{
    snprintf(text, size, "%s/%s %s w=%s x=%s y=%s %s h=%lld d=%lld n_m=%d top_k=%d batch=%lld parts=%d routing=%d",
             target->backend, target->max_isa ? target->max_isa : "",
             test->shape.kind == MGLU_KIND_MASKED ? "mglu" : "glu", mglu_dtype_name(test->shape.dtype),
             mglu_dtype_name(test->layer.x_dtype), mglu_dtype_name(test->layer.y_dtype),
             mglu_activation_name(test->layer.activation), (long long)test->shape.h, (long long)test->shape.d,
             test->shape.n_masks, test->layer.top_k, (long long)test->batch, test->shape.parts, test->routing);
}

static void check_against_reference(const struct shape_case *test, const struct target *target,
                                    const struct buffers *buffers, const double *want, const double *tolerance)
{
    char text[256];

    describe(test, target, text, sizeof text);
    for (int64_t b = 0; b < test->batch; b++)
        for (int64_t c = 0; c < buffers->columns; c++) {
            double got = (double)element(test, buffers, b, c), right = want[b * buffers->columns + c];
            if (!(fabs(got - right) <= tolerance[b * buffers->columns + c]))
                fail_msg("%s: y[%lld][%lld] = %.9g, want %.9g, tolerance %.3g", text, (long long)b, (long long)c, got,
                         right, tolerance[b * buffers->columns + c]);
        }
    check_gaps(test, buffers);
}

void run_case(const struct shape_case *test, uint32_t seed)
{
    struct sample sample = sample_make(&test->shape, seed);
    struct buffers buffers = make_buffers(test, seed + 1);
    size_t count = (size_t)(test->batch * buffers.columns);
    double *want = malloc((count + 1) * sizeof *want), *tolerance = malloc((count + 1) * sizeof *tolerance);
    struct rig reference = rig_make("ref", NULL, &sample.desc, &test->layer);
    mglu_forward_args args = make_args(test, &buffers);

    for (size_t i = 0; i < target_count; i++) {
        struct rig rig = open_target(&targets[i], &sample.desc, &test->layer);
        assert_ok(mglu_forward_reference(reference.layer, &args, mglu_layer_accuracy(rig.layer), want, tolerance));
        memset(buffers.y, CANARY, buffers.y_bytes);
        assert_ok(rig_forward(&rig, args));
        assert_ok(mglu_queue_wait(rig.queue));
        check_against_reference(test, &targets[i], &buffers, want, tolerance);
        rig_free(&rig);
    }
    rig_free(&reference);
    free(want), free(tolerance);
    free_buffers(&buffers);
    sample_free(&sample);
}

static const mglu_dtype dtypes[DTYPES][3] = {
    {MGLU_DTYPE_F32, MGLU_DTYPE_F32, MGLU_DTYPE_F32},   {MGLU_DTYPE_F16, MGLU_DTYPE_F16, MGLU_DTYPE_F16},
    {MGLU_DTYPE_F16, MGLU_DTYPE_F32, MGLU_DTYPE_F32},   {MGLU_DTYPE_BF16, MGLU_DTYPE_BF16, MGLU_DTYPE_BF16},
    {MGLU_DTYPE_BF16, MGLU_DTYPE_BF16, MGLU_DTYPE_F32}, {MGLU_DTYPE_F32, MGLU_DTYPE_F16, MGLU_DTYPE_BF16},
};

struct shape_case base_case(size_t dtype)
{
    return (struct shape_case){
        .shape = {.kind = MGLU_KIND_MASKED, .dtype = dtypes[dtype][0], .h = 45, .d = 19, .out = 21, .n_masks = 3},
        .layer = {.struct_size = sizeof(mglu_layer_desc),
                  .x_dtype = dtypes[dtype][1],
                  .y_dtype = dtypes[dtype][2],
                  .max_batch = 64},
        .batch = 2,
    };
}

struct shape_case quantised_x_case(size_t i)
{
    struct shape_case test = base_case(0);

    test.shape.dtype = i % 3 ? MGLU_DTYPE_Q8_0 : MGLU_DTYPE_Q4_0;
    test.shape.n_masks = (int32_t)(i * 5 % (MGLU_MAX_MASKS + 1));
    test.shape.kind = test.shape.n_masks ? MGLU_KIND_MASKED : MGLU_KIND_PLAIN;
    test.shape.h = 45 + (int64_t)i * 37;
    test.shape.parts = i % 4 < 2 ? WITH_DOWN : WITH_BIASES | WITH_ROUTER;
    test.layer.flags = MGLU_LAYER_ALLOW_QUANTISED_X;
    test.layer.top_k = i % 4 == 3 && test.shape.n_masks ? 1 : 0;
    test.routing = test.layer.top_k;
    test.batch = 2 + (int64_t)(i * 11 % 32);
    return test;
}
