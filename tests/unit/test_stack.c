/* SPDX-License-Identifier: MIT */
#include "sample.h"
#include "stack.h"

#include <mglu/pack.h>

/* No call needs more stack than docs/embedding.md says, on any backend of the CPU and any instruction set. */

enum { H = TEST_IS_SLOW ? 96 : 256, D = TEST_IS_SLOW ? 48 : 64, OUT = 48, MASKS = 16, BATCH = 64 };

static const char *backend, *max_isa;
static mglu_layer_desc layer_desc;
static struct sample sample;
static struct rig rig;
static float x[BATCH * H], y[BATCH * D];
static double want[BATCH * D], tolerance[BATCH * D];

static void create_context(void)
{
    const mglu_context_desc desc = {.struct_size = sizeof desc, .max_isa = max_isa};

    assert_ok(mglu_context_create(&desc, &rig.context));
}

static void pick(void)
{
    assert_ok(mglu_device_pick(rig.context, backend, &rig.device));
}

static void create_queue(void)
{
    assert_ok(mglu_queue_create(rig.device, NULL, &rig.queue));
}

static void create_weights(void)
{
    assert_ok(mglu_weights_create(rig.device, &sample.desc, &rig.weights));
}

static void ask_support(void)
{
    assert_ok(mglu_supports(rig.device, &sample.desc, &layer_desc));
}

static void create_layer(void)
{
    assert_ok(mglu_layer_create(rig.weights, &layer_desc, &rig.layer));
}

static void create_workspace(void)
{
    assert_ok(mglu_memory_create(rig.device, mglu_layer_workspace_size(rig.layer), &rig.workspace));
}

static void forward(void)
{
    assert_ok(rig_forward(&rig, (mglu_forward_args){.batch = layer_desc.max_batch, .x.data = x, .y.data = y}));
    assert_ok(mglu_queue_wait(rig.queue));
}

static void reference(void)
{
    const mglu_forward_args args = {.struct_size = sizeof args, .batch = 1, .x.data = x};

    if (strcmp(backend, "ref") == 0)
        assert_ok(mglu_forward_reference(rig.layer, &args, MGLU_ACCURACY_A, want, tolerance));
}

static void fail_forward(void)
{
    const mglu_forward_args args = {.struct_size = sizeof args, .batch = 1};

    assert_status(mglu_forward(rig.layer, rig.queue, &args), MGLU_ERROR_INVALID_ARGUMENT);
}

static void refuse_plugin(void)
{
    assert_status(mglu_backend_load(rig.context, "/nonexistent.so"), MGLU_ERROR_IO);
}

static void destroy(void)
{
    rig_free(&rig);
}

static const struct {
    const char *name;
    void (*run)(void);
} calls[] = {
    {"mglu_context_create", create_context},
    {"mglu_device_pick", pick},
    {"mglu_backend_load", refuse_plugin},
    {"mglu_queue_create", create_queue},
    {"mglu_supports", ask_support},
    {"mglu_weights_create", create_weights},
    {"mglu_layer_create", create_layer},
    {"mglu_memory_create", create_workspace},
    {"mglu_forward", forward},
    {"mglu_forward_reference", reference},
    {"a refused mglu_forward", fail_forward},
    {"mglu_*_destroy", destroy},
};

/* Training with every part; its numbers are zeros. */
enum { TRAIN_D = 40, TRAIN_BATCH = 33 };

static mglu_train_desc train_desc;
static mglu_train *train;
static mglu_memory *saved;
static float zeros[MASKS * TRAIN_D * H], gradients[MASKS * TRAIN_D * H];

static void create_train(void)
{
    assert_ok(mglu_train_create(rig.device, &train_desc, &train));
}

static void create_train_memory(void)
{
    assert_ok(mglu_memory_create(rig.device, mglu_train_workspace_size(train, TRAIN_BATCH), &rig.workspace));
    assert_ok(mglu_memory_create(rig.device, mglu_train_saved_size(train, TRAIN_BATCH), &saved));
}

static mglu_train_inputs train_inputs(void)
{
    return (mglu_train_inputs){.x.data = zeros,
                               .weight = {.data = zeros, .dtype = MGLU_DTYPE_F32},
                               .masks = {zeros, MGLU_MASK_LOGITS_F32},
                               .gate_bias = zeros,
                               .value_bias = zeros,
                               .router_logits.data = zeros};
}

static void train_forward(void)
{
    const mglu_train_forward_args args = {.struct_size = sizeof args,
                                          .batch = TRAIN_BATCH,
                                          .inputs = train_inputs(),
                                          .y.data = y,
                                          .saved = mglu_memory_data(saved),
                                          .saved_size = mglu_memory_size(saved),
                                          .workspace = mglu_memory_data(rig.workspace),
                                          .workspace_size = mglu_memory_size(rig.workspace)};

    assert_ok(mglu_train_forward(train, NULL, &args));
}

static void train_backward(void)
{
    static float dx[TRAIN_BATCH * H], dweight[TRAIN_D * H], dgate[MASKS * TRAIN_D], dvalue[MASKS * TRAIN_D],
        drouter[TRAIN_BATCH * MASKS];
    const mglu_train_backward_args args = {.struct_size = sizeof args,
                                           .batch = TRAIN_BATCH,
                                           .inputs = train_inputs(),
                                           .dy.data = zeros,
                                           .saved = mglu_memory_data(saved),
                                           .saved_size = mglu_memory_size(saved),
                                           .dx.data = dx,
                                           .dweight = dweight,
                                           .dlogits = gradients,
                                           .dgate_bias = dgate,
                                           .dvalue_bias = dvalue,
                                           .drouter_logits.data = drouter,
                                           .workspace = mglu_memory_data(rig.workspace),
                                           .workspace_size = mglu_memory_size(rig.workspace)};

    assert_ok(mglu_train_backward(train, NULL, &args));
}

static void train_reference(void)
{
    const mglu_train_reference_args args = {
        .struct_size = sizeof args, .batch = TRAIN_BATCH, .inputs = train_inputs(), .y.want = want};

    if (strcmp(backend, "ref") == 0)
        assert_ok(mglu_train_reference(train, &args));
}

static void destroy_train(void)
{
    mglu_memory_destroy(&saved);
    mglu_train_destroy(&train);
    rig_free(&rig);
    rig = (struct rig){0};
}

static const struct {
    const char *name;
    void (*run)(void);
} train_calls[] = {
    {"mglu_context_create", create_context},   {"mglu_device_pick", pick},
    {"mglu_train_create", create_train},       {"mglu_memory_create", create_train_memory},
    {"mglu_train_forward", train_forward},     {"mglu_train_backward", train_backward},
    {"mglu_train_reference", train_reference}, {"mglu_train_destroy", destroy_train},
};

static struct stack_depth deepest;

static void measure_training(mglu_dtype dtype)
{
    train_desc = (mglu_train_desc){.struct_size = sizeof train_desc,
                                   .flags = MGLU_TRAIN_GATE_BIAS | MGLU_TRAIN_VALUE_BIAS,
                                   .hidden_size = H,
                                   .intermediate_size = TRAIN_D,
                                   .n_masks = MASKS,
                                   .top_k = 2,
                                   .dtype = dtype,
                                   .max_batch = TRAIN_BATCH};
    rig = (struct rig){0};
    for (size_t i = 0; i < sizeof train_calls / sizeof train_calls[0]; i++)
        stack_measure(train_calls[i].name, train_calls[i].run, &deepest);
}

static void measure(mglu_dtype dtype, mglu_dtype x_dtype, int64_t batch, int32_t top_k, uint32_t flags)
{
    const struct sample_shape shape = {
        MGLU_KIND_MASKED, dtype, H, D, OUT, MASKS, WITH_BIASES | WITH_DOWN | (top_k ? WITH_ROUTER : 0)};

    sample = sample_make(&shape, 7);
    layer_desc = (mglu_layer_desc){
        .struct_size = sizeof layer_desc, .max_batch = batch, .top_k = top_k, .flags = flags, .x_dtype = x_dtype};
    for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++)
        stack_measure(calls[i].name, calls[i].run, &deepest);
    sample_free(&sample);
}

static void measure_all(void)
{
    measure_training(MGLU_DTYPE_F32);
    measure_training(MGLU_DTYPE_BF16);
    for (mglu_dtype dtype = 0; dtype < MGLU_DTYPE_COUNT; dtype++)
        for (int64_t batch = 1; batch <= BATCH; batch *= BATCH) {
            measure(dtype, MGLU_DTYPE_F32, batch, 0, 0);
            measure(dtype, MGLU_DTYPE_BF16, batch, 0, 0);
            measure(dtype, MGLU_DTYPE_F32, batch, 2, MGLU_LAYER_ALLOW_QUANTISED_X);
            measure(dtype, MGLU_DTYPE_F32, batch, 2, MGLU_LAYER_REPRODUCIBLE);
        }
}

static void every_call_of_the_cpu_fits_on_every_instruction_set(void **state)
{
    mglu_context *context;
    mglu_device *device;
    mglu_device_info info = {.struct_size = sizeof info};

    assert_ok(mglu_context_create(NULL, &context));
    assert_ok(mglu_device_pick(context, "cpu", &device));
    assert_ok(mglu_device_get_info(device, &info));
    backend = "cpu";
    for (const char *const *isa = info.instruction_sets; *isa; isa++) {
        max_isa = *isa;
        measure_all();
    }
    max_isa = NULL;
    mglu_context_destroy(&context);
    print_message("deepest: %s, %zu bytes\n", deepest.name, deepest.bytes);
}

static void every_call_of_the_reference_fits(void **state)
{
    backend = "ref";
    measure(MGLU_DTYPE_F16, MGLU_DTYPE_F32, 1, 2, 0);
    measure(MGLU_DTYPE_Q4_0, MGLU_DTYPE_F32, 1, 0, 0);
    measure_training(MGLU_DTYPE_BF16);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_call_of_the_cpu_fits_on_every_instruction_set),
        cmocka_unit_test(every_call_of_the_reference_fits),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
