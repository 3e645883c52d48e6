/* SPDX-License-Identifier: MIT */
#include "check.h"

#include <mglu/mglu.h>

#include <math.h>

/*
 * Weights large enough to be packed and checked by several threads: neither the result nor the error depends on the
 * threads.
 */

enum { H = 1024, D = 2300, THREADS = 3 };

static _Alignas(64) float gate[D][H];
static float value[D][H], y[D], x[H];

/* The number in row r of the value matrix; neighbouring rows have others. */
static float number_of(size_t row)
{
    return (float)(row % 211 + 1);
}

static void fill(void)
{
    for (size_t r = 0; r < D; r++)
        for (size_t c = 0; c < H; c++) {
            gate[r][c] = 1;
            value[r][c] = number_of(r);
        }
    x[H - 1] = 1;
}

static mglu_weights_desc describe(mglu_dtype dtype)
{
    return (mglu_weights_desc){.struct_size = sizeof(mglu_weights_desc),
                               .kind = MGLU_KIND_PLAIN,
                               .dtype = dtype,
                               .hidden_size = H,
                               .intermediate_size = D,
                               .weight = {.data = gate, .dtype = MGLU_DTYPE_F32},
                               .value_weight = {.data = value, .dtype = MGLU_DTYPE_F32}};
}

static mglu_device *open_device(mglu_context **context)
{
    const mglu_context_desc desc = {.struct_size = sizeof desc, .num_threads = THREADS};
    mglu_device *device;

    assert_ok(mglu_context_create(&desc, context));
    assert_ok(mglu_device_pick(*context, "ref", &device));
    return device;
}

/* y = 1 * value[row][H - 1] */
static void forward(mglu_device *device, mglu_weights *weights)
{
    const mglu_layer_desc desc = {.struct_size = sizeof desc, .activation = MGLU_ACTIVATION_IDENTITY, .max_batch = 1};
    mglu_forward_args args = {.struct_size = sizeof args, .batch = 1, .x.data = x, .y.data = y};
    mglu_queue *queue;
    mglu_layer *layer;
    mglu_memory *workspace;

    assert_ok(mglu_queue_create(device, NULL, &queue));
    assert_ok(mglu_layer_create(weights, &desc, &layer));
    args.workspace_size = mglu_layer_workspace_size(layer);
    assert_ok(mglu_memory_create(device, args.workspace_size, &workspace));
    args.workspace = mglu_memory_data(workspace);
    assert_ok(mglu_forward(layer, queue, &args));
    assert_ok(mglu_queue_wait(queue));
    mglu_memory_destroy(&workspace);
    mglu_layer_destroy(&layer);
    mglu_queue_destroy(&queue);
}

static void every_row_is_stored_at_its_index(void **state)
{
    static const mglu_dtype dtypes[] = {MGLU_DTYPE_F32, MGLU_DTYPE_F16, MGLU_DTYPE_BF16, MGLU_DTYPE_Q8_0,
                                        MGLU_DTYPE_Q4_0};
    mglu_context *context;
    mglu_device *device = open_device(&context);

    fill();
    for (size_t i = 0; i < sizeof dtypes / sizeof dtypes[0]; i++) {
        const mglu_weights_desc desc = describe(dtypes[i]);
        mglu_weights *weights;

        assert_ok(mglu_weights_create(device, &desc, &weights));
        forward(device, weights);
        for (size_t r = 0; r < D; r++)
            if (fabsf(y[r] - number_of(r)) > 2e-3f * number_of(r))
                fail_msg("%s, row %zu: %g, expected %g", mglu_dtype_name(dtypes[i]), r, (double)y[r],
                         (double)number_of(r));
        mglu_weights_destroy(&weights);
    }
    mglu_context_destroy(&context);
}

static void the_first_number_that_is_not_finite_is_named(void **state)
{
    const mglu_weights_desc desc = describe(MGLU_DTYPE_F32);
    mglu_context *context;
    mglu_device *device = open_device(&context);
    mglu_weights *weights;

    fill();
    value[D - 1][5] = INFINITY;
    value[1700][11] = INFINITY;
    value[700][3] = INFINITY;
    assert_status(mglu_weights_create(device, &desc, &weights), MGLU_ERROR_NONFINITE);
    assert_error_says("value_weight [700][3]");
    mglu_context_destroy(&context);
}

static void the_first_mask_byte_that_is_neither_0_nor_1_is_named(void **state)
{
    static uint8_t masks[2][D][H];
    mglu_weights_desc desc = describe(MGLU_DTYPE_F16);
    mglu_context *context;
    mglu_device *device = open_device(&context);
    mglu_weights *weights;

    desc.kind = MGLU_KIND_MASKED;
    desc.n_masks = 2;
    desc.value_weight.data = NULL;
    desc.masks = (mglu_mask_array){masks, MGLU_MASK_BYTES};
    masks[1][2][0] = 2;
    masks[0][D - 1][7] = 3;
    assert_status(mglu_weights_create(device, &desc, &weights), MGLU_ERROR_INVALID_ARGUMENT);
    assert_error_says("mask 0 [2299][7] is neither 0 nor 1");
    mglu_context_destroy(&context);
}

/* The most tasks that one loop had. */
static void run_and_count(void *user, int64_t count, mglu_task task, void *argument)
{
    int64_t *most = user;

    *most = count > *most ? count : *most;
    for (int64_t i = count; i-- > 0;)
        task(argument, i);
}

/* A masked layer with f32 rows of H, which are packed, and masks of 0 in the packed form. */
static mglu_weights_desc describe_packed(void)
{
    static _Alignas(64) uint32_t words[D][H / 32];
    mglu_weights_desc desc = describe(MGLU_DTYPE_F32);

    desc.kind = MGLU_KIND_MASKED;
    desc.n_masks = 1;
    desc.value_weight.data = NULL;
    desc.masks = (mglu_mask_array){words, MGLU_MASK_WORDS};
    return desc;
}

static void packing_and_checks_are_tasks_of_the_contexts_threads(void **state)
{
    static const uint32_t flags[] = {0, MGLU_WEIGHTS_BORROW, MGLU_WEIGHTS_BORROW | MGLU_WEIGHTS_CHECKED};
    static const int has_tasks[] = {1, 1, 0};

    fill();
    for (size_t i = 0; i < sizeof flags / sizeof flags[0]; i++) {
        int64_t most = 0;
        const mglu_parallel parallel = {.user = &most, .parallel_for = run_and_count};
        const mglu_context_desc context_desc = {.struct_size = sizeof context_desc, .parallel = &parallel};
        mglu_weights_desc desc = describe_packed();
        mglu_context *context;
        mglu_device *device;
        mglu_weights *weights;

        desc.flags = flags[i];
        assert_ok(mglu_context_create(&context_desc, &context));
        assert_ok(mglu_device_pick(context, "ref", &device));
        assert_ok(mglu_weights_create(device, &desc, &weights));
        assert_int_equal(most > 4, has_tasks[i]);
        mglu_weights_destroy(&weights);
        mglu_context_destroy(&context);
    }
}

static void the_threads_of_a_call_are_used_in_place_of_the_contexts(void **state)
{
    int64_t of_context = 0, of_call = 0;
    const mglu_parallel contexts = {.user = &of_context, .parallel_for = run_and_count},
                        calls = {.user = &of_call, .parallel_for = run_and_count}, none = {0};
    const mglu_context_desc context_desc = {.struct_size = sizeof context_desc, .parallel = &contexts};
    mglu_weights_desc desc = describe_packed();
    mglu_context *context;
    mglu_device *device;
    mglu_weights *weights;

    fill();
    assert_ok(mglu_context_create(&context_desc, &context));
    assert_ok(mglu_device_pick(context, "ref", &device));
    desc.parallel = &calls;
    assert_ok(mglu_weights_create(device, &desc, &weights));
    assert_true(of_call > 4);
    assert_int_equal(of_context, 0);
    mglu_weights_destroy(&weights);
    desc.parallel = &none;
    assert_status(mglu_weights_create(device, &desc, &weights), MGLU_ERROR_INVALID_ARGUMENT);
    assert_error_says("parallel_for is NULL");
    mglu_context_destroy(&context);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_row_is_stored_at_its_index),
        cmocka_unit_test(the_first_number_that_is_not_finite_is_named),
        cmocka_unit_test(the_first_mask_byte_that_is_neither_0_nor_1_is_named),
        cmocka_unit_test(packing_and_checks_are_tasks_of_the_contexts_threads),
        cmocka_unit_test(the_threads_of_a_call_are_used_in_place_of_the_contexts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
