/* SPDX-License-Identifier: MIT */
#include "session.h"

#include <dirent.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

/* Compiled programs between contexts: kept by the host or in a directory; an invalid one is rebuilt. */

enum { ENTRIES = 16 };

/* A host's cache, in memory. */
struct store {
    struct {
        char key[64];
        unsigned char *data;
        size_t size;
    } entries[ENTRIES];
    size_t count, loads;
};

static size_t load(void *user, const char *key, void *data, size_t capacity)
{
    struct store *store = user;

    store->loads++;
    for (size_t i = 0; i < store->count; i++)
        if (!strcmp(store->entries[i].key, key)) {
            if (data && capacity >= store->entries[i].size)
                memcpy(data, store->entries[i].data, store->entries[i].size);
            return store->entries[i].size;
        }
    return 0;
}

static void save(void *user, const char *key, const void *data, size_t size)
{
    struct store *store = user;
    size_t at = 0;

    while (at < store->count && strcmp(store->entries[at].key, key) != 0)
        at++;
    assert_in_range(at, 0, ENTRIES - 1);
    if (at == store->count)
        store->count++;
    else
        free(store->entries[at].data);
    snprintf(store->entries[at].key, sizeof store->entries[at].key, "%s", key);
    store->entries[at].data = malloc(size);
    store->entries[at].size = size;
    assert_non_null(store->entries[at].data);
    memcpy(store->entries[at].data, data, size);
}

static void store_free(struct store *store)
{
    for (size_t i = 0; i < store->count; i++)
        free(store->entries[i].data);
}

/* Makes a layer in a context of its own; returns how many programs were compiled from source. */
static int compile_with(const mglu_context_desc *desc)
{
    struct sample sample = sample_make(&whole, 1);
    struct rig rig = {0};
    int before = fake.calls[FAKE_clCreateProgramWithSource];

    assert_ok(make_fake_rig(desc, &sample, &rig));
    rig_free(&rig);
    sample_free(&sample);
    return fake.calls[FAKE_clCreateProgramWithSource] - before;
}

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
    const mglu_program_cache cache = {&store, load, save};
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
        const mglu_program_cache cache = {&store, load, save};
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
    const mglu_program_cache cache = {&store, load, save};
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

/* Calls `work` on each file of a directory; how many there are. */
static int for_each_file(const char *folder, void (*work)(const char *path))
{
    DIR *directory = opendir(folder);
    const struct dirent *entry;
    char path[512];
    int count = 0;

    assert_non_null(directory);
    while ((entry = readdir(directory))) {
        if (entry->d_name[0] == '.')
            continue;
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        work(path);
        count++;
    }
    closedir(directory);
    return count;
}

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

static void remove_file(const char *path)
{
    assert_int_equal(unlink(path), 0);
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
