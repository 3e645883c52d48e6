/* SPDX-License-Identifier: MIT */
#include "sample.h"

#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

/* Contexts, their hooks and environment, and what devices they list. */

static int clear_environment(void **state)
{
    unsetenv("MGLU_BACKEND");
    unsetenv("MGLU_BACKENDS");
    unsetenv("MGLU_MAX_ISA");
    unsetenv("MGLU_NUM_THREADS");
    unsetenv("MGLU_LOG");
    return 0;
}

static mglu_context *make_context(void)
{
    mglu_context *context;

    assert_ok(mglu_context_create(NULL, &context));
    return context;
}

static mglu_device_info info_of(const mglu_device *device)
{
    mglu_device_info info = {.struct_size = sizeof info};

    assert_ok(mglu_device_get_info(device, &info));
    return info;
}

static void every_device_is_available_or_says_why_not(void **state)
{
    mglu_context *context = make_context();
    size_t count, available = 0;

    assert_ok(mglu_device_count(context, &count));
    assert_true(count >= 4);
    for (size_t i = 0; i < count; i++) {
        mglu_device_info info = info_of(mglu_device_at(context, i));
        assert_true(info.backend[0] != '\0');
        assert_true(info.available ? info.reason[0] == '\0' : info.reason[0] != '\0');
        available += info.available != 0;
    }
    assert_true(available >= 2); /* cpu and ref, on any machine */
    assert_null(mglu_device_at(context, count));
    mglu_context_destroy(&context);
    assert_null(context);
}

static void auto_never_picks_the_reference(void **state)
{
    mglu_context *context = make_context();
    mglu_device *device;

    assert_ok(mglu_device_pick(context, "auto", &device));
    assert_string_not_equal(info_of(device).backend, "ref");
    mglu_context_destroy(&context);
}

static void an_unknown_backend_is_an_error_that_lists_the_known_ones(void **state)
{
    mglu_context *context = make_context();
    mglu_device *device;

    assert_status(mglu_device_pick(context, "metal", &device), MGLU_ERROR_NO_DEVICE);
    assert_error_says("unknown backend 'metal'; known: auto, host, cuda, opencl, cpu, ref");
    assert_null(device);
    mglu_context_destroy(&context);
}

static void an_unavailable_backend_is_an_error_that_says_why(void **state)
{
    mglu_context *context = make_context();
    mglu_device *device;
    size_t count;

    assert_ok(mglu_device_count(context, &count));
    for (size_t i = 0; i < count; i++) {
        mglu_device_info info = info_of(mglu_device_at(context, i));
        mglu_queue *queue;
        if (info.available)
            continue;
        assert_status(mglu_device_pick(context, info.backend, &device), MGLU_ERROR_NO_DEVICE);
        assert_error_says(info.reason);
        assert_status(mglu_queue_create(mglu_device_at(context, i), NULL, &queue), MGLU_ERROR_NO_DEVICE);
        assert_error_says(info.reason);
    }
    mglu_context_destroy(&context);
}

static void the_environment_names_the_backend_that_null_picks(void **state)
{
    mglu_context *context;
    mglu_device *device;

    setenv("MGLU_BACKEND", "ref", 1);
    context = make_context();
    assert_ok(mglu_device_pick(context, NULL, &device));
    assert_string_equal(info_of(device).backend, "ref");
    assert_ok(mglu_device_pick(context, "cpu", &device)); /* an explicit name wins */
    assert_string_equal(info_of(device).backend, "cpu");
    mglu_context_destroy(&context);
    setenv("MGLU_BACKEND", "nonsense", 1);
    context = make_context();
    assert_status(mglu_device_pick(context, NULL, &device), MGLU_ERROR_NO_DEVICE);
    assert_error_says("MGLU_BACKEND: unknown backend 'nonsense'");
    mglu_context_destroy(&context);
}

static void unknown_values_in_the_environment_are_errors_that_list_the_known_ones(void **state)
{
    static const struct {
        const char *name, *value, *says;
    } cases[] = {
        {"MGLU_NUM_THREADS", "0", "must be a number"},  {"MGLU_NUM_THREADS", "-3", "must be a number"},
        {"MGLU_NUM_THREADS", "2x", "must be a number"}, {"MGLU_LOG", "loud", "known: error, warn, info, debug"},
        {"MGLU_MAX_ISA", "avx1024", "baseline"},        {"MGLU_BACKENDS", "gpu", "known: cuda, opencl, cpu, ref"},
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        mglu_context *context = NULL;
        size_t count;
        clear_environment(NULL);
        setenv(cases[i].name, cases[i].value, 1);
        mglu_status status = mglu_context_create(NULL, &context);
        if (status == MGLU_OK) /* a value that only a backend checks is refused when it is opened */
            status = mglu_device_count(context, &count);
        assert_int_equal(status, MGLU_ERROR_INVALID_ARGUMENT);
        assert_error_says(cases[i].says);
        assert_error_says(cases[i].value);
        mglu_context_destroy(&context);
    }
}

/* Whether every device of a backend other than `backend` is unavailable for the reason `says`. */
static void assert_only(mglu_context *context, const char *backend, const char *says)
{
    size_t count, of_others = 0;

    assert_ok(mglu_device_count(context, &count));
    for (size_t i = 0; i < count; i++) {
        mglu_device_info info = info_of(mglu_device_at(context, i));
        if (strcmp(info.backend, backend) == 0)
            continue;
        assert_false(info.available);
        assert_string_equal(info.reason, says);
        of_others++;
    }
    assert_int_equal(of_others, 3);
}

static void backends_that_are_not_named_are_not_opened_and_say_why(void **state)
{
    mglu_context_desc desc = {.struct_size = sizeof desc};
    mglu_context *context;
    mglu_device *device;

    setenv("MGLU_BACKENDS", "ref", 1);
    context = make_context();
    assert_only(context, "ref", "not opened, since MGLU_BACKENDS is 'ref'");
    assert_status(mglu_device_pick(context, "host", &device), MGLU_ERROR_NO_DEVICE);
    assert_error_says("no device with host memory is available among the backends 'ref'");
    mglu_context_destroy(&context);
    desc.backends = "cpu"; /* takes precedence */
    assert_ok(mglu_context_create(&desc, &context));
    assert_status(mglu_device_pick(context, "ref", &device), MGLU_ERROR_NO_DEVICE);
    assert_error_says("backend 'ref' is not available: not opened, since backends is 'cpu'");
    assert_only(context, "cpu", "not opened, since backends is 'cpu'");
    assert_ok(mglu_device_pick(context, "auto", &device));
    assert_string_equal(info_of(device).backend, "cpu");
    mglu_context_destroy(&context);
}

static void unknown_names_of_backends_are_refused(void **state)
{
    static const struct {
        const char *backends, *says;
    } cases[] = {
        {"", "backends: unknown backend ''; known: cuda, opencl, cpu, ref"},
        {"cp", "unknown backend 'cp'"},
        {"cpu,", "unknown backend ''"},
        {"cpu, ref", "unknown backend ' ref'"},
        {"auto", "unknown backend 'auto'"},
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const mglu_context_desc desc = {.struct_size = sizeof desc, .backends = cases[i].backends};
        mglu_context *context;

        assert_status(mglu_context_create(&desc, &context), MGLU_ERROR_INVALID_ARGUMENT);
        assert_error_says(cases[i].says);
        assert_null(context);
    }
}

static void host_is_the_best_device_that_takes_host_pointers(void **state)
{
    mglu_context *context;
    mglu_device *device;

    setenv("MGLU_BACKEND", "host", 1);
    context = make_context();
    assert_ok(mglu_device_pick(context, NULL, &device));
    assert_string_equal(info_of(device).backend, "cpu");
    assert_true(info_of(device).host_memory);
    mglu_context_destroy(&context);
}

static void a_struct_of_a_newer_header_is_read_by_its_struct_size(void **state)
{
    struct {
        mglu_context_desc desc;
        uint64_t later; /* a member of a newer header */
    } newer = {{.struct_size = sizeof newer}, 0};
    mglu_context *context;

    assert_ok(mglu_context_create(&newer.desc, &context));
    mglu_context_destroy(&context);
    newer.later = 1;
    assert_status(mglu_context_create(&newer.desc, &context), MGLU_ERROR_VERSION_MISMATCH);
    assert_error_says("mglu_context_desc");
}

static void count_log(void *user, mglu_log_level level, const char *text)
{
    int *calls = user;

    assert_true(level <= MGLU_LOG_INFO);
    assert_null(strchr(text, '\n'));
    ++*calls;
}

static void the_logger_gets_the_selection_at_its_level_only(void **state)
{
    int calls = 0;
    mglu_logger logger = {.user = &calls, .log = count_log, .level = MGLU_LOG_INFO};
    mglu_context_desc desc = {.struct_size = sizeof desc, .logger = &logger};
    mglu_context *context;
    mglu_device *device;

    assert_ok(mglu_context_create(&desc, &context));
    assert_ok(mglu_device_pick(context, "auto", &device));
    assert_int_equal(calls, 1);
    mglu_context_destroy(&context);
    logger.level = MGLU_LOG_ERROR;
    assert_ok(mglu_context_create(&desc, &context));
    assert_ok(mglu_device_pick(context, "auto", &device));
    assert_int_equal(calls, 1);
    mglu_context_destroy(&context);
}

static void half_made_hooks_are_refused(void **state)
{
    const mglu_allocator allocator = {0};
    const mglu_parallel parallel = {0};
    const mglu_logger logger = {0};
    const mglu_context_desc descs[] = {
        {.struct_size = sizeof(mglu_context_desc), .allocator = &allocator},
        {.struct_size = sizeof(mglu_context_desc), .parallel = &parallel},
        {.struct_size = sizeof(mglu_context_desc), .logger = &logger},
        {.struct_size = sizeof(mglu_context_desc), .num_threads = -1},
    };

    for (size_t i = 0; i < sizeof descs / sizeof descs[0]; i++) {
        mglu_context *context;
        assert_status(mglu_context_create(&descs[i], &context), MGLU_ERROR_INVALID_ARGUMENT);
        assert_null(context);
    }
}

static void what_was_made_from_a_context_keeps_it_alive(void **state)
{
    mglu_context *context = make_context();
    mglu_device *device;
    mglu_queue *queue;

    assert_ok(mglu_device_pick(context, "cpu", &device));
    assert_ok(mglu_queue_create(device, NULL, &queue));
    mglu_context_destroy(&context);
    assert_ok(mglu_queue_wait(queue));
    mglu_queue_destroy(&queue);
    mglu_queue_destroy(&queue); /* NULL by now */
    mglu_context_destroy(NULL);
}

static void *fail_in_a_thread(void *context)
{
    mglu_device *device;

    return mglu_device_pick(context, "elsewhere", &device) == MGLU_OK ? NULL : context;
}

static void the_last_error_belongs_to_its_thread(void **state)
{
    mglu_context *context = make_context();
    mglu_device *device;
    pthread_t thread;
    void *result;

    assert_status(mglu_device_pick(context, "here", &device), MGLU_ERROR_NO_DEVICE);
    assert_int_equal(pthread_create(&thread, NULL, fail_in_a_thread, context), 0);
    assert_int_equal(pthread_join(thread, &result), 0);
    assert_non_null(result);
    assert_error_says("'here'");
    mglu_context_destroy(&context);
}

static void plugins_need_an_absolute_path_to_a_backend(void **state)
{
    mglu_context *context = make_context();

    assert_status(mglu_backend_load(context, "libnothing.so"), MGLU_ERROR_INVALID_ARGUMENT);
    assert_error_says("absolute");
    assert_status(mglu_backend_load(context, "/nonexistent/libnothing.so"), MGLU_ERROR_IO);
    assert_error_says("/nonexistent/libnothing.so");
    mglu_context_destroy(&context);
}

static void the_version_is_that_of_the_headers(void **state)
{
    char version[32];

    snprintf(version, sizeof version, "%d.%d.%d", MGLU_VERSION_MAJOR, MGLU_VERSION_MINOR, MGLU_VERSION_PATCH);
    assert_string_equal(mglu_version(), version);
    assert_non_null(strstr(mglu_build_info(), "openmp="));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(every_device_is_available_or_says_why_not, clear_environment),
        cmocka_unit_test_setup(auto_never_picks_the_reference, clear_environment),
        cmocka_unit_test_setup(an_unknown_backend_is_an_error_that_lists_the_known_ones, clear_environment),
        cmocka_unit_test_setup(an_unavailable_backend_is_an_error_that_says_why, clear_environment),
        cmocka_unit_test_setup(the_environment_names_the_backend_that_null_picks, clear_environment),
        cmocka_unit_test_setup(unknown_values_in_the_environment_are_errors_that_list_the_known_ones,
                               clear_environment),
        cmocka_unit_test_setup(backends_that_are_not_named_are_not_opened_and_say_why, clear_environment),
        cmocka_unit_test_setup(unknown_names_of_backends_are_refused, clear_environment),
        cmocka_unit_test_setup(host_is_the_best_device_that_takes_host_pointers, clear_environment),
        cmocka_unit_test_setup(a_struct_of_a_newer_header_is_read_by_its_struct_size, clear_environment),
        cmocka_unit_test_setup(the_logger_gets_the_selection_at_its_level_only, clear_environment),
        cmocka_unit_test_setup(half_made_hooks_are_refused, clear_environment),
        cmocka_unit_test_setup(what_was_made_from_a_context_keeps_it_alive, clear_environment),
        cmocka_unit_test_setup(the_last_error_belongs_to_its_thread, clear_environment),
        cmocka_unit_test_setup(plugins_need_an_absolute_path_to_a_backend, clear_environment),
        cmocka_unit_test_setup(the_version_is_that_of_the_headers, clear_environment),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
