/* SPDX-License-Identifier: MIT */
#include "stored.h"

#include <sys/stat.h>

/* Compiled programs between contexts: kept by the host or in a directory; an invalid one is rebuilt. */

static void test_off_unless_asked(void **state)
{
    mglu_context_desc desc = {.struct_size = sizeof desc};

    fake_reset();
    assert_int_equal(compile_with(&desc), compile_with(&desc));
    assert_int_equal(fake.calls[FAKE_clGetProgramInfo], 0);
}

static void test_host_keeps_programs(void **state)
{
    struct store store = {.count = 0};
    const mglu_program_cache cache = {&store, store_load, store_save};
    mglu_context_desc desc = {.struct_size = sizeof desc, .program_cache = &cache};
    int count;

    fake_reset();
    count = compile_with(&desc);
    assert_int_equal(count, (int)store.count);
    assert_int_equal(compile_with(&desc), 0);
    assert_true(store.loads > 0);
    /* An entry that the driver rejects is compiled again and replaced. */
    memset(fake.binary, 0x77, sizeof fake.binary);
    assert_int_equal(compile_with(&desc), count);
    assert_int_equal(compile_with(&desc), 0);
    assert_int_equal((int)store.count, count);
    assert_int_equal(fake.live, 0);
    store_free(&store);
}

static void flip(unsigned char *data, size_t size)
{
    data[size - 1] ^= 1;
}

static void spoil_key(unsigned char *data, size_t size)
{
    data[8] ^= 1;
}

static void spoil_magic(unsigned char *data, size_t size)
{
    data[0] = 'x';
}

static void test_damaged_entries_are_rebuilt(void **state)
{
    void (*const damages[])(unsigned char *data, size_t size) = {flip, spoil_key, spoil_magic};

    for (size_t k = 0; k < sizeof damages / sizeof damages[0]; k++) {
        struct store store = {.count = 0};
        const mglu_program_cache cache = {&store, store_load, store_save};
        mglu_context_desc desc = {.struct_size = sizeof desc, .program_cache = &cache};
        int binaries;

        fake_reset();
        compile_with(&desc);
        for (size_t i = 0; i < store.count; i++)
            damages[k](store.entries[i].data, store.entries[i].size);
        binaries = fake.calls[FAKE_clCreateProgramWithBinary];
        assert_int_equal((size_t)compile_with(&desc), store.count);
        assert_int_equal(fake.calls[FAKE_clCreateProgramWithBinary],
                         binaries); /* no damaged entry is given to the driver */
        assert_int_equal(compile_with(&desc), 0);
        store_free(&store);
    }
}

static void test_programs_are_not_shared_between_driver_versions(void **state)
{
    struct store store = {.count = 0};
    const mglu_program_cache cache = {&store, store_load, store_save};
    mglu_context_desc desc = {.struct_size = sizeof desc, .program_cache = &cache};
    size_t count;

    fake_reset();
    compile_with(&desc);
    count = store.count;
    fake.version = "OpenCL 1.2 fake, a newer build";
    assert_int_equal((size_t)compile_with(&desc), count);
    assert_int_equal(store.count, 2 * count);
    store_free(&store);
}

/* ---- The directory -------------------------------------------------------------------------------------------- */

static void look(const char *path)
{
    assert_non_null(strstr(path, ".mglucl"));
    assert_int_equal(strlen(strstr(path, ".mglucl")), 7); /* nothing temporary is left */
}

static void cut(const char *path)
{
    struct stat stat_of;

    assert_int_equal(stat(path, &stat_of), 0);
    assert_int_equal(truncate(path, stat_of.st_size / 2), 0);
}

static void make_empty(const char *path)
{
    assert_int_equal(truncate(path, 0), 0);
}

static void test_directory(void **state)
{
    char folder[] = "/tmp/mglu-opencl-cache-XXXXXX";
    mglu_context_desc desc = {.struct_size = sizeof desc, .cache_dir = folder};
    int count;

    assert_non_null(mkdtemp(folder));
    fake_reset();
    count = compile_with(&desc);
    assert_int_equal(for_each_file(folder, look), count);
    assert_int_equal(compile_with(&desc), 0);
    for_each_file(folder, cut);
    assert_int_equal(compile_with(&desc), count);
    assert_int_equal(compile_with(&desc), 0);
    for_each_file(folder, make_empty);
    assert_int_equal(compile_with(&desc), count);
    assert_int_equal(compile_with(&desc), 0);
    assert_int_equal(setenv("MGLU_CACHE_DIR", folder, 1), 0);
    desc.cache_dir = NULL;
    assert_int_equal(compile_with(&desc), 0);
    assert_int_equal(unsetenv("MGLU_CACHE_DIR"), 0);
    assert_int_equal(for_each_file(folder, remove_file), count);
    assert_int_equal(rmdir(folder), 0);
}

/* Nothing can be written there, so nothing is kept; the layer is made nevertheless. */
static void test_directory_that_is_not_there(void **state)
{
    mglu_context_desc desc = {.struct_size = sizeof desc, .cache_dir = "/nonexistent/mglu"};

    fake_reset();
    assert_int_not_equal(compile_with(&desc), 0);
    assert_int_not_equal(compile_with(&desc), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_off_unless_asked),
        cmocka_unit_test(test_host_keeps_programs),
        cmocka_unit_test(test_damaged_entries_are_rebuilt),
        cmocka_unit_test(test_programs_are_not_shared_between_driver_versions),
        cmocka_unit_test(test_directory),
        cmocka_unit_test(test_directory_that_is_not_there),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
