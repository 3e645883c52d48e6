/* SPDX-License-Identifier: MIT */
#include "memory_functions.h"
#include "tests/unit/check.h"

#include <mglu/mglu.h>

#include <dirent.h>
#include <dlfcn.h>
#include <stdlib.h>

/*
 * The library in a plug-in of a host: opened with dlopen and closed again. MGLU_TEST_MODULE is the path of a module
 * that is linked with the library; this program is not.
 */

static void *open_module(void)
{
    void *module = dlopen(getenv("MGLU_TEST_MODULE"), RTLD_NOW | RTLD_LOCAL);

    if (!module)
        fail_msg("%s", dlerror());
    return module;
}

/* Sets a pointer to a function of the module. */
static void find(void *module, const char *name, void *function)
{
    void *address = dlsym(module, name);

    assert_non_null(address);
    memcpy(function, &address, sizeof address);
}

/* Must come first: glibc allocates the thread-local variables of such a library when they are first used. */
static void the_first_failure_without_memory_is_a_status(void **state)
{
    void *module = open_module();
    mglu_status (*create)(const mglu_context_desc *, mglu_context **);
    const char *(*last_error)(void);
    mglu_context *context;

    find(module, "mglu_context_create", &create);
    find(module, "mglu_last_error", &last_error);
    atomic_store(&allocations_are_refused, 1);
    const mglu_status status = create(NULL, &context);
    const char *text = last_error();
    atomic_store(&allocations_are_refused, 0);
    assert_int_equal(status, MGLU_ERROR_OUT_OF_MEMORY);
    assert_non_null(strstr(text, "out of memory"));
    assert_int_equal(create(NULL, NULL), MGLU_ERROR_INVALID_ARGUMENT);
    assert_string_equal(last_error(), "context is NULL");
    assert_int_equal(dlclose(module), 0);
}

static int count_threads(void)
{
    DIR *folder = opendir("/proc/self/task");
    int count = -2; /* "." and ".." */

    assert_non_null(folder);
    while (readdir(folder))
        count++;
    closedir(folder);
    return count;
}

static void closing_the_library_does_not_end_or_leak_its_threads(void **state)
{
    enum { TIMES = 50 };
    void (*forward)(void);
    int threads = 0;

    for (int i = 0; i < TIMES; i++) {
        void *module = open_module();
        find(module, "forward_on_two_threads", &forward);
        forward();
        if (i == 0)
            threads = count_threads();
        assert_int_equal(dlclose(module), 0);
    }
    assert_int_equal(count_threads(), threads);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_failure_without_memory_is_a_status),
        cmocka_unit_test(closing_the_library_does_not_end_or_leak_its_threads),
    };

    unsetenv("MGLU_LOG");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
