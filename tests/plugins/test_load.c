/* SPDX-License-Identifier: MIT */
#include "sample.h"

#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

/* What mglu_backend_load() refuses: every contract violation that can be detected before the first layer is made. */

static const char *path_of_broken;

static const struct {
    const char *fault;
    mglu_status status;
    const char *says;
} refusals[] = {
    {"newer-abi", MGLU_ERROR_VERSION_MISMATCH, "has ABI 3, this library has 2"},
    {"older-abi", MGLU_ERROR_VERSION_MISMATCH, "has ABI 1, this library has 2"},
    {"table-size", MGLU_ERROR_VERSION_MISMATCH, "its table has"},
    {"larger-table", MGLU_ERROR_VERSION_MISMATCH, "its table has"},
    {"not-a-fault", MGLU_ERROR_VERSION_MISMATCH, "refuses this library's ABI 2"}, /* the entry returns NULL */
    {"missing-slot", MGLU_ERROR_INVALID_ARGUMENT, "has no queue_wait"},
    {"half-training", MGLU_ERROR_INVALID_ARGUMENT, "has no train_destroy"},
    {"half-memory", MGLU_ERROR_INVALID_ARGUMENT, "has no memory_allocate"},
    {"no-name", MGLU_ERROR_INVALID_ARGUMENT, "needs a name"},
    {"empty-name", MGLU_ERROR_INVALID_ARGUMENT, "needs a name"},
    {"name-in-two-words", MGLU_ERROR_INVALID_ARGUMENT, "needs a name"},
    {"reserved-name", MGLU_ERROR_INVALID_ARGUMENT, "needs a name"},
    {"name-of-a-choice", MGLU_ERROR_INVALID_ARGUMENT, "other than \"auto\" and \"host\""},
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

static void a_loaded_backend_is_listed_behind_the_built_in_ones(void **state)
{
    mglu_device_info info = {.struct_size = sizeof info};
    mglu_context *context;
    mglu_device *device;
    size_t count;

    assert_ok(mglu_context_create(NULL, &context));
    assert_ok(mglu_backend_load(context, getenv("MGLU_TEST_PLUGIN")));
    assert_ok(mglu_device_pick(context, "sample", &device));
    assert_ok(mglu_device_count(context, &count));
    assert_ptr_equal(mglu_device_at(context, count - 1), device);
    assert_ok(mglu_device_get_info(mglu_device_at(context, 0), &info));
    assert_string_equal(info.backend, "cuda");
    mglu_context_destroy(&context);
}

/* The context's list is of built-in backends: who loads one names it. */
static void a_loaded_backend_is_opened_whatever_backends_says(void **state)
{
    const mglu_context_desc desc = {.struct_size = sizeof desc, .backends = "ref"};
    mglu_context *context;
    mglu_device *device;

    assert_ok(mglu_context_create(&desc, &context));
    assert_ok(mglu_backend_load(context, getenv("MGLU_TEST_PLUGIN")));
    assert_ok(mglu_device_pick(context, "sample", &device));
    assert_status(mglu_device_pick(context, "cpu", &device), MGLU_ERROR_NO_DEVICE);
    mglu_context_destroy(&context);
}

static void host_prefers_a_loaded_device_with_host_memory_and_a_higher_rank(void **state)
{
    mglu_device *device, *sample;
    mglu_context *context;

    assert_ok(mglu_context_create(NULL, &context));
    setenv("MGLU_TEST_FAULT", "best-rank", 1);
    assert_ok(mglu_backend_load(context, path_of_broken));
    assert_ok(mglu_device_pick(context, "sample", &sample));
    assert_ok(mglu_device_pick(context, "host", &device));
    assert_ptr_equal(device, sample);
    mglu_context_destroy(&context);
}

static void write_file(const char *path, const void *data, size_t size)
{
    FILE *file = fopen(path, "wb");

    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

/* The whole of a file, to be freed. */
static unsigned char *read_file(const char *path, size_t *size)
{
    FILE *file = fopen(path, "rb");
    struct stat stat;
    unsigned char *data;

    assert_non_null(file);
    assert_int_equal(fstat(fileno(file), &stat), 0);
    *size = (size_t)stat.st_size;
    data = malloc(*size);
    assert_non_null(data);
    assert_int_equal(fread(data, 1, *size, file), *size);
    fclose(file);
    return data;
}

/* dlopen() maps the file: behind its end an access raises SIGBUS. */
static void an_incomplete_copy_is_refused_before_it_is_mapped(void **state)
{
    char path[] = "/tmp/mglu-test-load-XXXXXX";
    size_t size, step;
    unsigned char *plugin = read_file(getenv("MGLU_TEST_PLUGIN"), &size);
    mglu_context *context;
    mglu_device *device;

    close(mkstemp(path));
    assert_ok(mglu_context_create(NULL, &context));
    step = size / 150;
    for (size_t cut = size - 1; cut > step; cut -= step) {
        write_file(path, plugin, cut);
        assert_status(mglu_backend_load(context, path), MGLU_ERROR_CORRUPT_FILE);
        assert_error_says(path);
        assert_error_says("truncated");
    }
    write_file(path, plugin, size);
    assert_ok(mglu_backend_load(context, path));
    assert_ok(mglu_device_pick(context, "sample", &device));
    mglu_context_destroy(&context);
    unlink(path);
    free(plugin);
}

static void what_is_no_shared_object_is_refused_by_name(void **state)
{
    static const char script[] = "#!/bin/sh\n# Long enough to hold the header of a shared object, but it is none.\n";
    static const struct {
        const char *name, *says;
    } kinds[] = {
        {"directory", "is not a regular file"},
        {"fifo", "is not a regular file"},
        {"empty", "has 0 bytes"},
        {"short", "has 4 bytes"},
        {"script", "is not an ELF shared object"},
        {"program", "is not an ELF shared object"},
        {"missing", "No such file or directory"},
    };
    char folder[] = "/tmp/mglu-test-load-XXXXXX", path[64];
    size_t size;
    unsigned char *header = read_file(getenv("MGLU_TEST_PLUGIN"), &size);
    mglu_context *context;

    assert_non_null(mkdtemp(folder));
    assert_int_equal(chdir(folder), 0);
    assert_int_equal(mkdir("directory", 0700), 0);
    assert_int_equal(mkfifo("fifo", 0600), 0);
    write_file("empty", "", 0);
    write_file("short", header, 4);
    write_file("script", script, sizeof script);
    header[16] = 2; /* e_type: a program at a fixed address */
    write_file("program", header, size);
    assert_ok(mglu_context_create(NULL, &context));
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, kinds[i].name);
        assert_status(mglu_backend_load(context, path), MGLU_ERROR_IO);
        assert_error_says(path);
        assert_error_says(kinds[i].says);
        remove(path);
    }
    mglu_context_destroy(&context);
    assert_int_equal(rmdir(folder), 0);
    free(header);
}

static void a_table_without_poll_works_and_refuses_only_waits_with_a_limit(void **state)
{
    mglu_context *context;
    mglu_device *device;
    mglu_queue *queue;

    assert_ok(mglu_context_create(NULL, &context));
    setenv("MGLU_TEST_FAULT", "no-poll", 1);
    assert_ok(mglu_backend_load(context, path_of_broken));
    assert_ok(mglu_device_pick(context, "sample", &device));
    assert_ok(mglu_queue_create(device, NULL, &queue));
    assert_status(mglu_queue_wait_for(queue, 0), MGLU_ERROR_UNSUPPORTED);
    assert_error_says("backend 'sample' has no queue_poll");
    assert_ok(mglu_queue_wait(queue));
    mglu_queue_cancel_wait(queue);
    assert_ok(mglu_queue_wait(queue));
    mglu_queue_destroy(&queue);
    mglu_context_destroy(&context);
}

static void fail_if_called(void *user, mglu_status status)
{
    fail();
}

static void a_table_without_notify_works_and_refuses_only_that(void **state)
{
    mglu_context *context;
    mglu_device *device;
    mglu_queue *queue;

    assert_ok(mglu_context_create(NULL, &context));
    setenv("MGLU_TEST_FAULT", "no-notify", 1);
    assert_ok(mglu_backend_load(context, path_of_broken));
    assert_ok(mglu_device_pick(context, "sample", &device));
    assert_ok(mglu_queue_create(device, NULL, &queue));
    assert_status(mglu_queue_notify(queue, fail_if_called, NULL), MGLU_ERROR_UNSUPPORTED);
    assert_error_says("backend 'sample' has no queue_notify");
    assert_ok(mglu_queue_wait(queue));
    mglu_queue_destroy(&queue);
    mglu_context_destroy(&context);
}

/* What lies behind an older table is not read: here it is no address. */
static void a_table_from_before_training_works_and_refuses_only_that(void **state)
{
    const mglu_train_desc desc = {
        .struct_size = sizeof desc, .hidden_size = 8, .intermediate_size = 8, .n_masks = 1, .max_batch = 1};
    mglu_train *train = NULL;
    mglu_context *context;
    mglu_device *device;
    mglu_queue *queue;

    assert_ok(mglu_context_create(NULL, &context));
    setenv("MGLU_TEST_FAULT", "before-training", 1);
    assert_ok(mglu_backend_load(context, path_of_broken));
    assert_ok(mglu_device_pick(context, "sample", &device));
    assert_ok(mglu_queue_create(device, NULL, &queue));
    assert_status(mglu_train_create(device, &desc, &train), MGLU_ERROR_UNSUPPORTED);
    assert_error_says("backend 'sample' does not train");
    assert_null(train);
    assert_ok(mglu_queue_wait(queue));
    mglu_queue_destroy(&queue);
    mglu_context_destroy(&context);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_contract_violation_seen_at_load_is_refused_without_effect),
        cmocka_unit_test(a_refused_name_is_free_for_a_valid_backend),
        cmocka_unit_test(a_loaded_backend_is_listed_behind_the_built_in_ones),
        cmocka_unit_test(a_loaded_backend_is_opened_whatever_backends_says),
        cmocka_unit_test(host_prefers_a_loaded_device_with_host_memory_and_a_higher_rank),
        cmocka_unit_test(an_incomplete_copy_is_refused_before_it_is_mapped),
        cmocka_unit_test(what_is_no_shared_object_is_refused_by_name),
        cmocka_unit_test(a_table_without_poll_works_and_refuses_only_waits_with_a_limit),
        cmocka_unit_test(a_table_without_notify_works_and_refuses_only_that),
        cmocka_unit_test(a_table_from_before_training_works_and_refuses_only_that),
    };

    path_of_broken = getenv("MGLU_TEST_BROKEN");
    return path_of_broken ? cmocka_run_group_tests(tests, NULL, NULL) : 1;
}
