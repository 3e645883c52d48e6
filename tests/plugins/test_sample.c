/* SPDX-License-Identifier: MIT */
#include "sample.h"

#include <math.h>

/* The example backend (MGLU_TEST_PLUGIN) against the reference: each element within its tolerance. */

enum { BATCH = 3, STRIDE_GAP = 5, MAX_COLUMNS = 64 };

static const struct {
    struct sample_shape shape;
    mglu_activation activation;
    mglu_dtype x, y;
    int32_t top_k;
} layers[] = {
    {{MGLU_KIND_MASKED, MGLU_DTYPE_F32, 67, 19, 0, 1, 0}, MGLU_ACTIVATION_SILU, MGLU_DTYPE_F32, MGLU_DTYPE_F32, 0},
    {{MGLU_KIND_MASKED, MGLU_DTYPE_F16, 96, 32, 0, 16, WITH_BIASES},
     MGLU_ACTIVATION_GELU_ERF,
     MGLU_DTYPE_F16,
     MGLU_DTYPE_F16,
     0},
    {{MGLU_KIND_MASKED, MGLU_DTYPE_BF16, 33, 7, 40, 5, WITH_BIASES | WITH_ROUTER | WITH_DOWN | WITH_RESIDUAL},
     MGLU_ACTIVATION_GELU_TANH,
     MGLU_DTYPE_BF16,
     MGLU_DTYPE_F32,
     3},
    {{MGLU_KIND_PLAIN, MGLU_DTYPE_F16, 130, 9, 0, 0, WITH_BIASES | WITH_RESIDUAL},
     MGLU_ACTIVATION_RELU,
     MGLU_DTYPE_F32,
     MGLU_DTYPE_BF16,
     0},
    {{MGLU_KIND_PLAIN, MGLU_DTYPE_F32, 1, 3, 2, 0, WITH_DOWN},
     MGLU_ACTIVATION_SIGMOID,
     MGLU_DTYPE_F32,
     MGLU_DTYPE_F32,
     0},
    {{MGLU_KIND_MASKED, MGLU_DTYPE_F32, 0, 4, 6, 2, WITH_BIASES | WITH_DOWN},
     MGLU_ACTIVATION_IDENTITY,
     MGLU_DTYPE_F32,
     MGLU_DTYPE_F32,
     0},
};

/* A rig on the plug-in's device. */
static struct rig rig_of_plugin(const mglu_weights_desc *weights, const mglu_layer_desc *layer)
{
    struct rig rig = {0};

    assert_ok(mglu_context_create(NULL, &rig.context));
    assert_ok(mglu_backend_load(rig.context, getenv("MGLU_TEST_PLUGIN")));
    assert_ok(mglu_device_pick(rig.context, "sample", &rig.device));
    assert_ok(mglu_queue_create(rig.device, NULL, &rig.queue));
    assert_ok(mglu_weights_create(rig.device, weights, &rig.weights));
    assert_ok(mglu_layer_create(rig.weights, layer, &rig.layer));
    assert_ok(mglu_memory_create(rig.device, mglu_layer_workspace_size(rig.layer), &rig.workspace));
    return rig;
}

static void compare(const mglu_layer_desc *desc, const void *y, int64_t columns, const double *want,
                    const double *tolerance)
{
    for (int64_t b = 0; b < BATCH; b++)
        for (int64_t c = 0; c < columns; c++) {
            const char *from =
                (const char *)y + (size_t)(b * (columns + STRIDE_GAP) + c) * mglu_dtype_size(desc->y_dtype);
            int64_t at = b * columns + c;
            float got;
            assert_ok(mglu_convert(from, desc->y_dtype, &got, MGLU_DTYPE_F32, 1));
            if (!(fabs((double)got - want[at]) <= tolerance[at]))
                fail_msg("[%d][%d] is %g, want %g within %g", (int)b, (int)c, (double)got, want[at], tolerance[at]);
        }
}

static void compare_layer(const struct sample_shape *shape, const mglu_layer_desc *desc)
{
    struct sample sample = sample_make(shape, 7);
    struct rig rig = rig_of_plugin(&sample.desc, desc);
    struct rig reference = rig_make("ref", NULL, &sample.desc, desc);
    int64_t columns = sample.desc.output_size ? sample.desc.output_size : shape->d;
    uint32_t seed = 11;
    void *x = sample_array(desc->x_dtype, (size_t)(BATCH * (shape->h + STRIDE_GAP)), 1, &seed);
    void *y = sample_array(desc->y_dtype, (size_t)(BATCH * (columns + STRIDE_GAP)), 1, &seed);
    void *residual = sample_array(desc->y_dtype, (size_t)(BATCH * columns), 1, &seed);
    double want[BATCH * MAX_COLUMNS], tolerance[BATCH * MAX_COLUMNS];
    mglu_forward_args args = {.struct_size = sizeof args,
                              .batch = BATCH,
                              .x = {x, 0, shape->h + STRIDE_GAP},
                              .y = {y, 0, columns + STRIDE_GAP}};

    if (shape->parts & WITH_RESIDUAL)
        args.residual.data = residual;
    assert_ok(mglu_forward_reference(reference.layer, &args, mglu_layer_accuracy(rig.layer), want, tolerance));
    assert_ok(rig_forward(&rig, args));
    compare(desc, y, columns, want, tolerance);
    free(x);
    free(y);
    free(residual);
    rig_free(&rig);
    rig_free(&reference);
    sample_free(&sample);
}

static void the_example_agrees_with_the_reference(void **state)
{
    for (size_t i = 0; i < sizeof layers / sizeof layers[0]; i++)
        compare_layer(&layers[i].shape, &(mglu_layer_desc){.struct_size = sizeof(mglu_layer_desc),
                                                           .activation = layers[i].activation,
                                                           .x_dtype = layers[i].x,
                                                           .y_dtype = layers[i].y,
                                                           .top_k = layers[i].top_k,
                                                           .max_batch = BATCH});
}

static void auto_never_picks_the_example(void **state)
{
    mglu_device_info info = {.struct_size = sizeof info};
    mglu_context *context;
    mglu_device *device;

    assert_ok(mglu_context_create(NULL, &context));
    assert_ok(mglu_backend_load(context, getenv("MGLU_TEST_PLUGIN")));
    assert_ok(mglu_device_pick(context, "auto", &device));
    assert_ok(mglu_device_get_info(device, &info));
    assert_string_not_equal(info.backend, "sample");
    mglu_context_destroy(&context);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_example_agrees_with_the_reference),
        cmocka_unit_test(auto_never_picks_the_example),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
