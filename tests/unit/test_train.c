/* SPDX-License-Identifier: MIT */
#include "sample.h"

/*
 * The calls of training on the reference, by a layer that can be computed by hand: h = 2, d = 1, one mask, W = [2, 3]
 * and M = [1, 0], so that gate = 2 x0 and value = 3 x1. With g(t) = t, y = 6 x0 x1. The conformance suite has the rest.
 */

static const float weight[] = {2, 3}, logits[] = {0.5f, -0.5f}, x[] = {5, 7, 1, -1}, dy[] = {1, 2};

struct plan {
    mglu_context *context;
    mglu_device *device;
    mglu_train *train;
    mglu_memory *workspace, *saved;
};

static mglu_train_desc by_hand(void)
{
    return (mglu_train_desc){.struct_size = sizeof(mglu_train_desc),
                             .hidden_size = 2,
                             .intermediate_size = 1,
                             .n_masks = 1,
                             .activation = MGLU_ACTIVATION_IDENTITY,
                             .max_batch = 2};
}

static struct plan make_plan(void)
{
    const mglu_train_desc desc = by_hand();
    struct plan plan = {0};

    assert_ok(mglu_context_create(NULL, &plan.context));
    assert_ok(mglu_device_pick(plan.context, "ref", &plan.device));
    assert_ok(mglu_train_create(plan.device, &desc, &plan.train));
    assert_ok(mglu_memory_create(plan.device, mglu_train_workspace_size(plan.train, 2), &plan.workspace));
    assert_ok(mglu_memory_create(plan.device, mglu_train_saved_size(plan.train, 2), &plan.saved));
    return plan;
}

static void free_plan(struct plan *plan)
{
    mglu_memory_destroy(&plan->saved);
    mglu_memory_destroy(&plan->workspace);
    mglu_train_destroy(&plan->train);
    mglu_context_destroy(&plan->context);
}

static mglu_train_inputs inputs(void)
{
    return (mglu_train_inputs){.x = {.data = x}, .weight = {.data = weight}, .masks = {logits, MGLU_MASK_LOGITS_F32}};
}

static mglu_train_forward_args forward_args(const struct plan *plan, float *y)
{
    return (mglu_train_forward_args){.struct_size = sizeof(mglu_train_forward_args),
                                     .batch = 2,
                                     .inputs = inputs(),
                                     .y = {.data = y},
                                     .saved = mglu_memory_data(plan->saved),
                                     .saved_size = mglu_memory_size(plan->saved),
                                     .workspace = mglu_memory_data(plan->workspace),
                                     .workspace_size = mglu_memory_size(plan->workspace)};
}

static mglu_train_backward_args backward_args(const struct plan *plan)
{
    return (mglu_train_backward_args){.struct_size = sizeof(mglu_train_backward_args),
                                      .batch = 2,
                                      .inputs = inputs(),
                                      .dy = {.data = dy},
                                      .saved = mglu_memory_data(plan->saved),
                                      .saved_size = mglu_memory_size(plan->saved),
                                      .workspace = mglu_memory_data(plan->workspace),
                                      .workspace_size = mglu_memory_size(plan->workspace)};
}

static void expect_floats(const float *got, const float *want, size_t count)
{
    for (size_t i = 0; i < count; i++)
        assert_float_equal(got[i], want[i], 0);
}

/*
 * dx = dy (6 x1, 6 x0). dW = sum over the batch of dy (3 x0 x1, 2 x0 x1). A step of M moves W x from the value to the
 * gate: dM_c = sum of dy (value - gate) W_c x_c, with value - gate = 3 x1 - 2 x0 = 11 and -5.
 */
static void a_step_computed_by_hand(void **state)
{
    const float y_want[] = {210, -6}, dx_want[] = {42, 30, -12, 12}, dw_want[] = {105 - 6, 70 - 4};
    const float dm_want[] = {11 * 10 - 10 * 2, 11 * 21 + 10 * 3};
    struct plan plan = make_plan();
    float y[2], dx[4], dw[2], dm[2];
    const mglu_train_forward_args forward = forward_args(&plan, y);
    mglu_train_backward_args backward = backward_args(&plan);

    backward.dx.data = dx;
    backward.dweight = dw;
    backward.dlogits = dm;
    assert_ok(mglu_train_forward(plan.train, NULL, &forward));
    assert_ok(mglu_train_backward(plan.train, NULL, &backward));
    expect_floats(y, y_want, 2);
    expect_floats(dx, dx_want, 4);
    expect_floats(dw, dw_want, 2);
    expect_floats(dm, dm_want, 2);
    free_plan(&plan);
}

static void an_accumulated_gradient_is_the_sum_of_both_steps(void **state)
{
    const float dw_want[] = {2 * 99 + 1, 2 * 66 + 1};
    struct plan plan = make_plan();
    float y[2], dw[2] = {1, 1};
    const mglu_train_forward_args forward = forward_args(&plan, y);
    mglu_train_backward_args backward = backward_args(&plan);

    backward.dweight = dw;
    backward.flags = MGLU_TRAIN_ACCUMULATE;
    assert_ok(mglu_train_forward(plan.train, NULL, &forward));
    assert_ok(mglu_train_backward(plan.train, NULL, &backward));
    assert_ok(mglu_train_backward(plan.train, NULL, &backward));
    expect_floats(dw, dw_want, 2);
    free_plan(&plan);
}

static void a_plan_keeps_its_context_alive(void **state)
{
    struct plan plan = make_plan();
    float y[2];
    const mglu_train_forward_args args = forward_args(&plan, y);

    mglu_context_destroy(&plan.context);
    assert_ok(mglu_train_forward(plan.train, NULL, &args));
    free_plan(&plan);
    mglu_train_destroy(&plan.train);
    mglu_train_destroy(NULL);
}

static void a_larger_batch_never_needs_less_and_one_out_of_range_nothing(void **state)
{
    static const int64_t outside[] = {INT64_MIN, -1, 0, 3};
    struct plan plan = make_plan();

    assert_true(mglu_train_workspace_size(plan.train, 2) >= mglu_train_workspace_size(plan.train, 1));
    assert_true(mglu_train_saved_size(plan.train, 2) >= mglu_train_saved_size(plan.train, 1));
    for (size_t i = 0; i < sizeof outside / sizeof outside[0]; i++) {
        assert_int_equal(mglu_train_workspace_size(plan.train, outside[i]), 0);
        assert_int_equal(mglu_train_saved_size(plan.train, outside[i]), 0);
    }
    free_plan(&plan);
}

static void handles_that_are_null_or_of_another_device_are_refused(void **state)
{
    struct plan plan = make_plan();
    float y[2];
    const mglu_train_desc desc = by_hand();
    const mglu_train_forward_args args = forward_args(&plan, y);
    mglu_device *cpu;
    mglu_queue *queue;

    assert_status(mglu_train_create(NULL, &desc, &plan.train), MGLU_ERROR_INVALID_ARGUMENT);
    assert_status(mglu_train_create(plan.device, &desc, NULL), MGLU_ERROR_INVALID_ARGUMENT);
    assert_status(mglu_train_forward(NULL, NULL, &args), MGLU_ERROR_INVALID_ARGUMENT);
    assert_status(mglu_train_backward(NULL, NULL, NULL), MGLU_ERROR_INVALID_ARGUMENT);
    assert_status(mglu_train_reference(NULL, NULL), MGLU_ERROR_INVALID_ARGUMENT);
    assert_ok(mglu_device_pick(plan.context, "cpu", &cpu));
    assert_ok(mglu_queue_create(cpu, NULL, &queue));
    assert_status(mglu_train_forward(plan.train, queue, &args), MGLU_ERROR_INVALID_ARGUMENT);
    assert_error_says("another device");
    mglu_queue_destroy(&queue);
    assert_ok(mglu_queue_create(plan.device, NULL, &queue));
    assert_ok(mglu_train_forward(plan.train, queue, &args));
    assert_ok(mglu_queue_wait(queue));
    mglu_queue_destroy(&queue);
    free_plan(&plan);
}

/* The mask's word is 1: column 0 belongs to the gate. */
static void mask_words_may_be_at_any_address(void **state)
{
    struct plan plan = make_plan();
    _Alignas(uint32_t) unsigned char bytes[2 * sizeof(uint32_t)] = {0};
    const uint32_t word = 1;
    float y[2];
    mglu_train_forward_args args = forward_args(&plan, y);

    for (size_t offset = 0; offset < sizeof word; offset++) {
        memcpy(bytes + offset, &word, sizeof word);
        args.inputs.masks = (mglu_mask_array){bytes + offset, MGLU_MASK_WORDS};
        assert_ok(mglu_train_forward(plan.train, NULL, &args));
        assert_true(y[0] == 210 && y[1] == -6);
        memset(bytes, 0, sizeof bytes);
    }
    free_plan(&plan);
}

static void a_set_padding_bit_is_refused(void **state)
{
    struct plan plan = make_plan();
    const uint32_t word = 1 | 1 << 2;
    float y[2];
    mglu_train_forward_args args = forward_args(&plan, y);

    args.inputs.masks = (mglu_mask_array){&word, MGLU_MASK_WORDS};
    assert_status(mglu_train_forward(plan.train, NULL, &args), MGLU_ERROR_INVALID_ARGUMENT);
    assert_error_says("padding bit");
    free_plan(&plan);
}

static void threads_without_a_function_are_refused(void **state)
{
    const mglu_parallel nothing = {0};
    struct plan plan = make_plan();
    float y[2];
    mglu_train_forward_args forward = forward_args(&plan, y);
    mglu_train_backward_args backward = backward_args(&plan);

    forward.parallel = backward.parallel = &nothing;
    assert_status(mglu_train_forward(plan.train, NULL, &forward), MGLU_ERROR_INVALID_ARGUMENT);
    assert_status(mglu_train_backward(plan.train, NULL, &backward), MGLU_ERROR_INVALID_ARGUMENT);
    assert_error_says("parallel_for is NULL");
    free_plan(&plan);
}

static void run_backwards(void *user, int64_t count, mglu_task task, void *argument)
{
    *(int *)user += 1;
    while (count > 0)
        task(argument, --count);
}

/* Even one task, as packing the masks is here, goes through a hook. */
static void the_threads_of_a_call_are_used_in_it_and_in_no_other(void **state)
{
    struct plan plan = make_plan();
    int loops = 0, before;
    const mglu_parallel hook = {.user = &loops, .parallel_for = run_backwards};
    float y[2], dx[4];
    mglu_train_forward_args forward = forward_args(&plan, y);
    mglu_train_backward_args backward = backward_args(&plan);

    forward.parallel = backward.parallel = &hook;
    backward.dx.data = dx;
    assert_ok(mglu_train_forward(plan.train, NULL, &forward));
    before = loops;
    assert_true(before > 0);
    assert_ok(mglu_train_backward(plan.train, NULL, &backward));
    assert_true(loops > before);
    before = loops;
    forward.parallel = NULL;
    assert_ok(mglu_train_forward(plan.train, NULL, &forward));
    assert_int_equal(loops, before);
    free_plan(&plan);
}

/* Without dy and gradients it is the oracle of a forward. */
static void the_oracle_needs_dy_only_for_gradients(void **state)
{
    struct plan plan = make_plan();
    double y[2], tolerance[2], dx[4];
    mglu_train_reference_args args = {.struct_size = sizeof args, .batch = 2, .inputs = inputs(), .y = {y, tolerance}};

    assert_ok(mglu_train_reference(plan.train, &args));
    assert_true(y[0] == 210 && y[1] == -6 && tolerance[0] > 0 && tolerance[0] < 1e-3);
    args.dx.want = dx;
    assert_status(mglu_train_reference(plan.train, &args), MGLU_ERROR_INVALID_ARGUMENT);
    assert_error_says("dy is NULL");
    free_plan(&plan);
}

static void the_oracle_checks_its_arguments_and_is_the_references_alone(void **state)
{
    const mglu_train_desc desc = by_hand();
    struct plan plan = make_plan();
    mglu_train_reference_args args = {.struct_size = sizeof args, .reserved = 1, .batch = 2, .inputs = inputs()};
    mglu_train *other = NULL;
    mglu_device *cpu;

    assert_status(mglu_train_reference(plan.train, &args), MGLU_ERROR_INVALID_ARGUMENT);
    assert_error_says("reserved");
    args.reserved = 0;
    args.batch = 3;
    assert_status(mglu_train_reference(plan.train, &args), MGLU_ERROR_INVALID_ARGUMENT);
    assert_error_says("batch is 3, must be 0..2");
    assert_ok(mglu_device_pick(plan.context, "cpu", &cpu));
    assert_ok(mglu_train_create(cpu, &desc, &other));
    assert_status(mglu_train_reference(other, &args), MGLU_ERROR_UNSUPPORTED);
    assert_error_says("backend 'cpu' is not a reference");
    mglu_train_destroy(&other);
    free_plan(&plan);
}

/* The gradients of parameters of no tokens are 0, so that a caller may add them up. */
static void the_oracle_of_an_empty_batch_has_zeros(void **state)
{
    struct plan plan = make_plan();
    double dw[2] = {7, 7};
    mglu_train_reference_args args = {.struct_size = sizeof args, .dweight = {.want = dw}};

    assert_ok(mglu_train_reference(plan.train, &args));
    assert_true(dw[0] == 0 && dw[1] == 0);
    free_plan(&plan);
}

/* dx has no elements then, so that a caller may have no address for it. */
static void a_backward_of_no_tokens_needs_no_gradient(void **state)
{
    struct plan plan = make_plan();
    const mglu_train_backward_args args = {.struct_size = sizeof args};

    assert_ok(mglu_train_backward(plan.train, NULL, &args));
    free_plan(&plan);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_step_computed_by_hand),
        cmocka_unit_test(an_accumulated_gradient_is_the_sum_of_both_steps),
        cmocka_unit_test(a_plan_keeps_its_context_alive),
        cmocka_unit_test(a_larger_batch_never_needs_less_and_one_out_of_range_nothing),
        cmocka_unit_test(handles_that_are_null_or_of_another_device_are_refused),
        cmocka_unit_test(mask_words_may_be_at_any_address),
        cmocka_unit_test(a_set_padding_bit_is_refused),
        cmocka_unit_test(threads_without_a_function_are_refused),
        cmocka_unit_test(the_threads_of_a_call_are_used_in_it_and_in_no_other),
        cmocka_unit_test(the_oracle_needs_dy_only_for_gradients),
        cmocka_unit_test(the_oracle_checks_its_arguments_and_is_the_references_alone),
        cmocka_unit_test(the_oracle_of_an_empty_batch_has_zeros),
        cmocka_unit_test(a_backward_of_no_tokens_needs_no_gradient),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
