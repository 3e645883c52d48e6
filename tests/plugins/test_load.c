/* SPDX-License-Identifier: MIT */
#include "sample.h"

/* What mglu_backend_load() refuses: every contract violation that can be detected before the first layer is made. */

static const char *path_of_broken;

static const struct {
    const char *fault;
    mglu_status status;
    const char *says;
} refusals[] = {
    {"newer-abi", MGLU_ERROR_VERSION_MISMATCH, "has ABI 2, this library has 1"},
    {"older-abi", MGLU_ERROR_VERSION_MISMATCH, "has ABI 0, this library has 1"},
    {"table-size", MGLU_ERROR_VERSION_MISMATCH, "its table has"},
    {"not-a-fault", MGLU_ERROR_VERSION_MISMATCH, "refuses this library's ABI 1"}, /* the entry returns NULL */
    {"missing-slot", MGLU_ERROR_INVALID_ARGUMENT, "has no queue_wait"},
    {"half-memory", MGLU_ERROR_INVALID_ARGUMENT, "has no memory_allocate"},
    {"no-name", MGLU_ERROR_INVALID_ARGUMENT, "needs a name"},
    {"empty-name", MGLU_ERROR_INVALID_ARGUMENT, "needs a name"},
    {"name-in-two-words", MGLU_ERROR_INVALID_ARGUMENT, "needs a name"},
    {"reserved-name", MGLU_ERROR_INVALID_ARGUMENT, "needs a name"},
    {"taken-name", MGLU_ERROR_INVALID_ARGUMENT, "a backend 'cpu' already exists"},
    {"no-reason", MGLU_ERROR_INVALID_ARGUMENT, "unavailable without a reason"},
    {"open-fails", MGLU_ERROR_DEVICE, "the driver says 42"},
    {"no-device", MGLU_ERROR_INVALID_ARGUMENT, "lists no device"},
    {"negative-count", MGLU_ERROR_INVALID_ARGUMENT, "lists no device"},
    {"info-fails", MGLU_ERROR_DEVICE, "does not open: device_error"},
    {"nameless-device", MGLU_ERROR_INVALID_ARGUMENT, "device 0 of backend 'sample': it has no name"},
    {"rank", MGLU_ERROR_INVALID_ARGUMENT, "its rank is out of range"},
    {"type", MGLU_ERROR_INVALID_ARGUMENT, "its type is unknown"},
    {"own-memory", MGLU_ERROR_INVALID_ARGUMENT, "no memory_allocate"},
};

static size_t devices_of(mglu_context *context)
{
    size_t count;

    assert_ok(mglu_device_count(context, &count));
    return count;
}

static void a_contract_violation_seen_at_load_is_refused_without_effect(void **state)
{
    mglu_context *context;
    mglu_device *device;
    size_t devices;

    assert_ok(mglu_context_create(NULL, &context));
    devices = devices_of(context);
    for (size_t i = 0; i < sizeof refusals / sizeof refusals[0]; i++) {
        setenv("MGLU_TEST_FAULT", refusals[i].fault, 1);
        assert_status(mglu_backend_load(context, path_of_broken), refusals[i].status);
        assert_error_says(refusals[i].says);
        assert_error_says(path_of_broken);
        assert_int_equal(devices_of(context), devices);
        assert_status(mglu_device_pick(context, "sample", &device), MGLU_ERROR_NO_DEVICE);
    }
    assert_ok(mglu_device_pick(context, "cpu", &device));
    mglu_context_destroy(&context);
}

static void a_refused_name_is_free_for_a_valid_backend(void **state)
{
    mglu_context *context;
    mglu_device *device;

    assert_ok(mglu_context_create(NULL, &context));
    setenv("MGLU_TEST_FAULT", "no-device", 1);
    assert_status(mglu_backend_load(context, path_of_broken), MGLU_ERROR_INVALID_ARGUMENT);
    assert_ok(mglu_backend_load(context, getenv("MGLU_TEST_PLUGIN")));
    assert_ok(mglu_device_pick(context, "sample", &device));
    assert_status(mglu_backend_load(context, getenv("MGLU_TEST_PLUGIN")), MGLU_ERROR_INVALID_ARGUMENT);
    assert_error_says("a backend 'sample' already exists");
    mglu_context_destroy(&context);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_contract_violation_seen_at_load_is_refused_without_effect),
        cmocka_unit_test(a_refused_name_is_free_for_a_valid_backend),
    };

    path_of_broken = getenv("MGLU_TEST_BROKEN");
    return path_of_broken ? cmocka_run_group_tests(tests, NULL, NULL) : 1;
}
