/* SPDX-License-Identifier: MIT */
#include "use.h"

/* Every call of the driver fails once, with each kind of failure: a status with the driver's text, and no leak. */

static void fail_after(const char *call, int calls, CUresult failure, int stays)
{
    fake_settings()->failing_call = call;
    fake_settings()->calls_before_failure = calls;
    fake_settings()->failure = failure;
    fake_settings()->failure_stays = stays;
}

static const struct {
    CUresult failure;
    const char *name;
    int stays;
    mglu_status status;
} failures[] = {
    {CUDA_ERROR_OUT_OF_MEMORY, "CUDA_ERROR_OUT_OF_MEMORY (2)", 0, MGLU_ERROR_OUT_OF_MEMORY},
    {CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES, "CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES (701)", 0, MGLU_ERROR_DEVICE},
    {(CUresult)9999, "(9999)", 0, MGLU_ERROR_DEVICE},
    {CUDA_ERROR_ILLEGAL_ADDRESS, "CUDA_ERROR_ILLEGAL_ADDRESS (700)", 1, MGLU_ERROR_DEVICE_LOST},
    {CUDA_ERROR_LAUNCH_FAILED, "CUDA_ERROR_LAUNCH_FAILED (719)", 1, MGLU_ERROR_DEVICE_LOST},
    {CUDA_ERROR_LAUNCH_TIMEOUT, "CUDA_ERROR_LAUNCH_TIMEOUT (702)", 1, MGLU_ERROR_DEVICE_LOST},
};

/* Whether a failure of call `index` of the log has no effect: it releases something, or there is a fallback. */
static int may_pass(int index)
{
    const char *call = fake_log_call(index);
    static const char *const names[] = {"cuMemFree",      "cuMemFreeHost",  "cuStreamDestroy",
                                        "cuModuleUnload", "cuMemHostAlloc", "cuDevicePrimaryCtxRelease"};

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (!strcmp(call, names[i]))
            return 1;
    /* Destroying a queue asks whether its work is done; errors of that can't be reported. */
    return !strcmp(call, "cuStreamQuery");
}

/* The index in the log of the `k`-th call that can fail; negative: there is none. */
static int call_that_failed(int k)
{
    for (int i = 0; i < fake_log_count(); i++)
        if (strncmp(fake_log_call(i), "cuCtx", 5) != 0 && k-- == 0)
            return i;
    return -1;
}

/* One run in which call number `k` fails. Returns whether there is such a call. */
static int fail_at(int k, size_t kind)
{
    mglu_status status;
    int index;

    fake_reset();
    fail_after(NULL, k, failures[kind].failure, failures[kind].stays);
    status = use_everything();
    index = call_that_failed(k);
    if (index < 0)
        return 0;
    if (status == MGLU_OK && !may_pass(index))
        fail_msg("call %d, %s, fails with %s, but no error is reported", k, fake_log_call(index), failures[kind].name);
    if (status != MGLU_OK) {
        if (status != failures[kind].status && status != MGLU_ERROR_NO_DEVICE)
            fail_msg("call %d, %s, fails with %s: %s (%s)", k, fake_log_call(index), failures[kind].name,
                     mglu_status_string(status), mglu_last_error());
        assert_error_says(failures[kind].name);
    }
    fake_reset();
    assert_nothing_held();
    return 1;
}

static void any_failing_call_is_a_status_and_leaks_nothing(void **state)
{
    int calls = 0;

    for (size_t kind = 0; kind < sizeof failures / sizeof failures[0]; kind++)
        for (calls = 0; fail_at(calls, kind);)
            calls++;
    assert_true(calls > 30);
    fake_reset();
    assert_ok(use_everything());
}

/* The call for which memory runs out, and how many of its calls succeed before. */
static void memory_that_runs_out_is_out_of_memory_and_a_retry_works(void **state)
{
    /* weights, workspace, x, y */
    for (int k = 0; k < 4; k++) {
        fail_after("cuMemAlloc", k, CUDA_ERROR_OUT_OF_MEMORY, 0);
        assert_status(use_everything(), MGLU_ERROR_OUT_OF_MEMORY);
        assert_error_says("cuMemAlloc");
        assert_nothing_held();
        assert_ok(use_everything());
    }
    fail_after("cuMemHostAlloc", 0, CUDA_ERROR_OUT_OF_MEMORY, 0); /* the queue's error word */
    assert_status(use_everything(), MGLU_ERROR_OUT_OF_MEMORY);
    fail_after("cuMemHostAlloc", 1, CUDA_ERROR_OUT_OF_MEMORY, 0); /* pinned upload memory: other memory replaces it */
    assert_ok(use_everything());
    fail_after("cuModuleLoadData", 0, CUDA_ERROR_OUT_OF_MEMORY, 0);
    assert_status(use_everything(), MGLU_ERROR_OUT_OF_MEMORY);
}

static void no_image_for_the_device_names_both_architectures(void **state)
{
    fail_after("cuModuleLoadData", 0, CUDA_ERROR_NO_BINARY_FOR_GPU, 0);
    assert_status(use_everything(), MGLU_ERROR_NO_KERNEL_FOR_DEVICE);
    assert_error_says("sm_90;");
    assert_error_says("sm_90");
    assert_error_says("CUDA_ERROR_NO_BINARY_FOR_GPU (209)");
}

static void a_context_that_cannot_be_entered_is_a_status(void **state)
{
    struct use use;
    float first;

    assert_ok(use_make(&use, NULL, NULL));
    fail_after("cuCtxPushCurrent", 0, CUDA_ERROR_OUT_OF_MEMORY, 0);
    assert_status(use_forward(&use, &first), MGLU_ERROR_OUT_OF_MEMORY);
    assert_error_says("cuCtxPushCurrent");
    assert_ok(use_forward(&use, &first));
    use_free(&use);
}

static void a_failed_launch_leaves_the_queue_usable(void **state)
{
    struct use use;
    float first;

    assert_ok(use_make(&use, NULL, NULL));
    fail_after("cuLaunchKernelEx", 1, CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES, 0);
    assert_status(use_forward(&use, &first), MGLU_ERROR_DEVICE);
    assert_error_says("launch of the projection");
    assert_ok(use_forward(&use, &first));
    use_free(&use);
}

/* A lost device returns its error immediately and without another call of the driver. */
static void a_device_lost_at_wait_stays_lost_and_the_cpu_works(void **state)
{
    struct use use;
    mglu_device *cpu;
    mglu_queue *queue;
    float first;

    assert_ok(use_make(&use, NULL, NULL));
    assert_ok(rig_forward(&use.rig, use.args));
    fail_after("cuStreamSynchronize", 0, CUDA_ERROR_LAUNCH_FAILED, 1);
    assert_status(mglu_queue_wait(use.rig.queue), MGLU_ERROR_DEVICE_LOST);
    assert_error_says("CUDA_ERROR_LAUNCH_FAILED (719)");
    fake_log_clear();
    assert_status(mglu_queue_wait(use.rig.queue), MGLU_ERROR_DEVICE_LOST);
    assert_error_says("was lost: CUDA_ERROR_LAUNCH_FAILED (719)");
    assert_status(use_forward(&use, &first), MGLU_ERROR_DEVICE_LOST);
    assert_status(mglu_queue_create(use.rig.device, NULL, &queue), MGLU_ERROR_DEVICE_LOST);
    assert_int_equal(fake_log_count(), 0);
    assert_ok(mglu_device_pick(use.rig.context, "cpu", &cpu));
    assert_ok(mglu_queue_create(cpu, NULL, &queue));
    assert_ok(mglu_queue_wait(queue));
    mglu_queue_destroy(&queue);
    use_free(&use);
}

static void a_kernel_that_the_driver_ended_is_a_lost_device(void **state)
{
    struct use use;

    assert_ok(use_make(&use, NULL, NULL));
    fail_after("cuStreamSynchronize", 0, CUDA_ERROR_LAUNCH_TIMEOUT, 1);
    assert_status(mglu_queue_wait(use.rig.queue), MGLU_ERROR_DEVICE_LOST);
    assert_status(mglu_queue_wait(use.rig.queue), MGLU_ERROR_DEVICE_LOST);
    use_free(&use);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(any_failing_call_is_a_status_and_leaks_nothing, reset, no_leak),
        cmocka_unit_test_setup_teardown(memory_that_runs_out_is_out_of_memory_and_a_retry_works, reset, no_leak),
        cmocka_unit_test_setup_teardown(no_image_for_the_device_names_both_architectures, reset, no_leak),
        cmocka_unit_test_setup_teardown(a_context_that_cannot_be_entered_is_a_status, reset, no_leak),
        cmocka_unit_test_setup_teardown(a_failed_launch_leaves_the_queue_usable, reset, no_leak),
        cmocka_unit_test_setup_teardown(a_device_lost_at_wait_stays_lost_and_the_cpu_works, reset, no_leak),
        cmocka_unit_test_setup_teardown(a_kernel_that_the_driver_ended_is_a_lost_device, reset, no_leak),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
