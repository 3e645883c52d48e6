/* SPDX-License-Identifier: MIT */
#include "use.h"

#include <sys/wait.h>
#include <unistd.h>

/* What the device list reports for unusable drivers, and that the CPU backend still works then. */

static mglu_device_info first_cuda_device(mglu_context *context)
{
    mglu_device_info info = {.struct_size = sizeof info};
    size_t count;

    assert_ok(mglu_device_count(context, &count));
    for (size_t i = 0; i < count; i++) {
        assert_ok(mglu_device_get_info(mglu_device_at(context, i), &info));
        if (!strcmp(info.backend, "cuda"))
            return info;
    }
    fail_msg("no device of the backend 'cuda' is listed");
    return info;
}

/* Expects one unavailable device whose reason has all the words. */
static void expect_unavailable(const char *const *words)
{
    mglu_device *device;
    mglu_context *context;
    mglu_device_info info;

    assert_ok(mglu_context_create(NULL, &context));
    info = first_cuda_device(context);
    assert_int_equal(info.available, 0);
    for (; *words; words++)
        if (!strstr(info.reason, *words))
            fail_msg("the reason does not say '%s': %s", *words, info.reason);
    assert_status(mglu_device_pick(context, "cuda", &device), MGLU_ERROR_NO_DEVICE);
    assert_error_says(info.reason);
    assert_ok(mglu_device_pick(context, "auto", &device));
    assert_ok(mglu_device_get_info(device, &info));
    assert_string_not_equal(info.backend, "cuda");
    mglu_context_destroy(&context);
}

static void an_unusable_driver_is_given_as_the_reason(void **state)
{
    static const struct {
        struct fake_settings settings;
        const char *words[6];
    } cases[] = {
        {{.device_count = 1, .hidden_symbol = "cuLaunchKernelEx"}, {"cuLaunchKernelEx", "driver is older than"}},
        {{.device_count = 1, .driver_version = 11080}, {"for CUDA 11.8", "needs 1", ".0 or newer"}},
        {{.device_count = 0}, {"lists no device"}},
        {{.device_count = 1, .architecture = 75}, {"sm_75", "sm_90"}},
        {{.device_count = 1, .failing_call = "cuInit", .failure = CUDA_ERROR_NO_DEVICE},
         {"cuInit", "CUDA_ERROR_NO_DEVICE", "(100)"}},
        {{.device_count = 1, .failing_call = "cuInit", .failure = (CUresult)12345}, {"cuInit", "(12345)"}},
        {{.device_count = 1, .failing_call = "cuDeviceTotalMem", .failure = CUDA_ERROR_LAUNCH_FAILED},
         {"reading the device", "CUDA_ERROR_LAUNCH_FAILED"}},
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct fake_settings *settings = fake_settings();

        fake_reset();
        settings->device_count = cases[i].settings.device_count;
        settings->hidden_symbol = cases[i].settings.hidden_symbol;
        if (cases[i].settings.driver_version)
            settings->driver_version = cases[i].settings.driver_version;
        if (cases[i].settings.architecture)
            settings->architecture = cases[i].settings.architecture;
        settings->failing_call = cases[i].settings.failing_call;
        settings->failure = cases[i].settings.failure;
        settings->calls_before_failure = settings->failing_call ? 0 : -1;
        expect_unavailable(cases[i].words);
    }
}

static void a_device_reports_what_it_is(void **state)
{
    mglu_device_info info;
    mglu_context *context;

    assert_ok(mglu_context_create(NULL, &context));
    info = first_cuda_device(context);
    assert_int_equal(info.available, 1);
    assert_int_equal(info.host_memory, 0);
    assert_int_equal(info.type, MGLU_DEVICE_GPU);
    assert_true(info.memory_bytes > 0);
    assert_string_equal(info.name, "Imaginary GPU");
    assert_non_null(strstr(info.details, "arch=sm_90 driver="));
    mglu_context_destroy(&context);
}

/* Whether a device of this architecture can be used. */
static int is_available(int architecture)
{
    mglu_context *context;
    int available;

    fake_settings()->architecture = architecture;
    assert_ok(mglu_context_create(NULL, &context));
    available = first_cuda_device(context).available;
    mglu_context_destroy(&context);
    return available;
}

/* For every build: code of sm_86 runs on sm_89, and so on, and none runs on devices before sm_80, the PTX's target. */
static void code_runs_on_later_minor_versions(void **state)
{
    static const int pairs[][2] = {{86, 89}, {90, 99}, {100, 103}, {120, 121}};

    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++)
        if (is_available(pairs[i][0]))
            assert_true(is_available(pairs[i][1]));
    assert_true(is_available(90) || is_available(120) || is_available(100) || is_available(86));
    assert_false(is_available(75));
}

static void every_device_is_listed_and_the_first_is_selected(void **state)
{
    mglu_device_info info = {.struct_size = sizeof info};
    mglu_device *device;
    mglu_context *context;

    fake_settings()->device_count = 3;
    assert_ok(mglu_context_create(NULL, &context));
    for (size_t i = 0; i < 3; i++) {
        assert_ok(mglu_device_get_info(mglu_device_at(context, i), &info));
        assert_string_equal(info.backend, "cuda");
    }
    assert_ok(mglu_device_pick(context, NULL, &device));
    assert_ptr_equal(device, mglu_device_at(context, 0));
    mglu_context_destroy(&context);
}

/* Reading the list creates no context on the device. */
static void listing_devices_makes_no_context(void **state)
{
    size_t count;
    mglu_context *context;

    assert_ok(mglu_context_create(NULL, &context));
    assert_ok(mglu_device_count(context, &count));
    assert_nothing_held();
    mglu_context_destroy(&context);
}

/* Runs in a child: 0, or the number of the expectation that failed. */
static int use_in_child(struct use *use)
{
    mglu_context *context;
    mglu_device *device;
    float first;
    int calls;

    fake_log_clear();
    if (use_forward(use, &first) != MGLU_ERROR_AFTER_FORK)
        return 1;
    use_free(use); /* does not call the driver, and does not hang */
    calls = fake_log_count();
    if (calls != 0)
        return 2;
    if (mglu_context_create(NULL, &context) != MGLU_OK)
        return 3;
    if (mglu_device_pick(context, "cuda", &device) != MGLU_ERROR_NO_DEVICE || !strstr(mglu_last_error(), "child"))
        return 4;
    if (mglu_device_pick(context, "cpu", &device) != MGLU_OK)
        return 5;
    mglu_context_destroy(&context);
    return 0;
}

static void a_child_process_gets_after_fork_and_can_use_the_cpu(void **state)
{
    struct use use;
    int ended;
    pid_t child;

    assert_ok(use_make(&use, NULL, NULL));
    child = fork();
    assert_true(child >= 0);
    if (child == 0)
        _exit(use_in_child(&use));
    assert_int_equal(waitpid(child, &ended, 0), child);
    assert_true(WIFEXITED(ended));
    assert_int_equal(WEXITSTATUS(ended), 0);
    use_free(&use);
}

static void an_unknown_forced_kernel_is_refused_with_those_there_are(void **state)
{
    mglu_context *context;
    size_t count;

    assert_ok(mglu_context_create(NULL, &context));
    assert_int_equal(setenv("MGLU_CUDA_VARIANT", "mma8:5", 1), 0);
    assert_status(mglu_device_count(context, &count), MGLU_ERROR_INVALID_ARGUMENT);
    assert_error_says("mma8:5");
    assert_error_says("simt, mma8, mma16, ring");
    unsetenv("MGLU_CUDA_VARIANT");
    assert_ok(mglu_device_count(context, &count));
    mglu_context_destroy(&context);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(an_unusable_driver_is_given_as_the_reason, reset, no_leak),
        cmocka_unit_test_setup_teardown(a_device_reports_what_it_is, reset, no_leak),
        cmocka_unit_test_setup_teardown(code_runs_on_later_minor_versions, reset, no_leak),
        cmocka_unit_test_setup_teardown(every_device_is_listed_and_the_first_is_selected, reset, no_leak),
        cmocka_unit_test_setup_teardown(listing_devices_makes_no_context, reset, no_leak),
        cmocka_unit_test_setup_teardown(a_child_process_gets_after_fork_and_can_use_the_cpu, reset, no_leak),
        cmocka_unit_test_setup_teardown(an_unknown_forced_kernel_is_refused_with_those_there_are, reset, no_leak),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
