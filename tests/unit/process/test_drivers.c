/* SPDX-License-Identifier: MIT */
#include "check.h"

#include <mglu/mglu.h>

#include <stdio.h>
#include <string.h>

/* Which drivers a context opens: each brings libraries, memory and threads into the process, and may end it. */

static int has_library(const char *name)
{
    char line[4096];
    FILE *maps = fopen("/proc/self/maps", "r");
    int found = 0;

    assert_non_null(maps);
    while (fgets(line, sizeof line, maps))
        found |= strstr(line, name) != NULL;
    fclose(maps);
    return found;
}

static void a_driver_that_no_call_needs_is_not_opened(void **state)
{
    static const struct {
        const char *backends, *pick;
    } cases[] = {{NULL, "cpu"}, {NULL, "ref"}, {NULL, "host"}, {"cpu,ref", "auto"}, {"ref", "opencl"}};
    mglu_context *context;
    mglu_device *device;
    size_t count;

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const mglu_context_desc desc = {.struct_size = sizeof desc, .backends = cases[i].backends};

        assert_ok(mglu_context_create(&desc, &context));
        assert_status(mglu_device_pick(context, cases[i].pick, &device),
                      strcmp(cases[i].pick, "opencl") ? MGLU_OK : MGLU_ERROR_NO_DEVICE);
        if (desc.backends)
            assert_ok(mglu_device_count(context, &count));
        mglu_context_destroy(&context);
    }
    assert_false(has_library("libOpenCL.so"));
    assert_false(has_library("libcuda.so"));
}

/* As a text, so that two contexts can be compared. */
static void list(mglu_context *context, char *text, size_t size)
{
    size_t count, used = 0;

    assert_ok(mglu_device_count(context, &count));
    for (size_t i = 0; i < count; i++) {
        mglu_device_info info = {.struct_size = sizeof info};
        assert_ok(mglu_device_get_info(mglu_device_at(context, i), &info));
        used += (size_t)snprintf(text + used, size - used, "%s %s;", info.backend, info.name);
        assert_true(used < size);
    }
}

static void the_order_of_devices_does_not_depend_on_what_was_picked_before(void **state)
{
    static char usual[4096], other[4096];
    mglu_context *context;
    mglu_device *device;

    assert_ok(mglu_context_create(NULL, &context));
    list(context, usual, sizeof usual);
    mglu_context_destroy(&context);
    assert_ok(mglu_context_create(NULL, &context));
    assert_ok(mglu_device_pick(context, "ref", &device));
    assert_ok(mglu_device_pick(context, "cpu", &device));
    list(context, other, sizeof other);
    assert_string_equal(other, usual);
    mglu_context_destroy(&context);
}

static void an_unknown_backend_is_refused_with_the_names_of_all(void **state)
{
    mglu_context *context;
    mglu_device *device;

    assert_ok(mglu_context_create(NULL, &context));
    assert_status(mglu_device_pick(context, "cpo", &device), MGLU_ERROR_NO_DEVICE);
    assert_error_says("unknown backend 'cpo'; known: auto, host");
    assert_error_says("cuda");
    assert_error_says("opencl");
    assert_error_says("ref");
    mglu_context_destroy(&context);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_driver_that_no_call_needs_is_not_opened), /* first: drivers stay in the process */
        cmocka_unit_test(an_unknown_backend_is_refused_with_the_names_of_all),
        cmocka_unit_test(the_order_of_devices_does_not_depend_on_what_was_picked_before),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
