/* SPDX-License-Identifier: MIT */
#include "stored.h"

#include <fcntl.h>
#include <sys/stat.h>

/* What is stored runs as code: only files of the user or root that nobody else can write to are used. */

enum { SOMEBODY_ELSE = 65534, TEXT_SIZE = 8192 };

/* The lines of the log, at warn level and above. */
struct lines {
    char text[TEXT_SIZE];
    int count;
};

static void keep_line(void *user, mglu_log_level level, const char *text)
{
    struct lines *lines = user;
    const size_t used = strlen(lines->text);

    snprintf(lines->text + used, TEXT_SIZE - used, "%s\n", text);
    lines->count++;
}

/* Makes a layer in a context of its own; returns how many programs were compiled from source. */
static int compile_in(const char *folder, struct lines *lines)
{
    const mglu_logger logger = {lines, keep_line, MGLU_LOG_WARN};
    const mglu_context_desc desc = {.struct_size = sizeof desc, .logger = &logger, .cache_dir = folder};

    *lines = (struct lines){.count = 0};
    return compile_with(&desc);
}

static void remove_folder(const char *folder)
{
    for_each_file(folder, remove_file);
    assert_int_equal(rmdir(folder), 0);
}

/* ---- Owners, modes and kinds of files --------------------------------------------------------------------------- */

static void let_the_group_write(const char *path)
{
    assert_int_equal(chmod(path, 0720), 0);
}

static void let_all_write(const char *path)
{
    assert_int_equal(chmod(path, 0702), 0);
}

static void give_away(const char *path)
{
    assert_int_equal(chown(path, SOMEBODY_ELSE, SOMEBODY_ELSE), 0);
}

/* A good entry under another name, to which a link leads. */
static void make_link(const char *path)
{
    char other[600];

    snprintf(other, sizeof other, "%s.moved", path);
    assert_int_equal(rename(path, other), 0);
    assert_int_equal(symlink(other, path), 0);
}

/* Nothing ever writes to it: reading it would wait for ever. */
static void make_fifo(const char *path)
{
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mkfifo(path, 0600), 0);
}

static const struct {
    const char *name;
    void (*spoil)(const char *path);
    const char *says;
    int needs_root;
} entries[] = {
    {"writable by the group", let_the_group_write, "mode 100720", 0},
    {"writable by all", let_all_write, "mode 100702", 0},
    {"of somebody else", give_away, "found one of user 65534", 1},
    {"a link", make_link, "expected a regular file", 0},
    {"a FIFO", make_fifo, "expected a regular file", 0},
};

static void entries_that_others_may_have_written_are_not_used(void **state)
{
    for (size_t i = 0; i < sizeof entries / sizeof entries[0]; i++) {
        char folder[] = "/tmp/mglu-opencl-trust-XXXXXX";
        struct lines lines;
        int count;

        if (entries[i].needs_root && geteuid() != 0)
            continue;
        assert_non_null(mkdtemp(folder));
        fake_reset();
        count = compile_in(folder, &lines);
        assert_int_equal(compile_in(folder, &lines), 0);
        for_each_file(folder, entries[i].spoil);
        if (compile_in(folder, &lines) != count)
            fail_msg("an entry is used that is %s", entries[i].name);
        assert_int_equal(lines.count, count);
        assert_non_null(strstr(lines.text, folder));
        assert_non_null(strstr(lines.text, entries[i].says));
        assert_int_equal(compile_in(folder, &lines), 0); /* replaced by entries of our own */
        remove_folder(folder);
    }
}

static const struct {
    const char *name;
    void (*spoil)(const char *path);
    const char *says;
    int needs_root;
} folders[] = {
    {"writable by the group", let_the_group_write, "mode 040720", 0},
    {"writable by all", let_all_write, "mode 040702", 0},
    {"of somebody else", give_away, "found one of user 65534", 1},
    {"a link", make_link, "not a link", 0},
};

static void a_directory_that_others_may_have_written_is_not_used_and_said_once(void **state)
{
    for (size_t i = 0; i < sizeof folders / sizeof folders[0]; i++) {
        char folder[] = "/tmp/mglu-opencl-trust-XXXXXX", moved[64];
        struct lines lines;
        int count;

        if (folders[i].needs_root && geteuid() != 0)
            continue;
        assert_non_null(mkdtemp(folder));
        fake_reset();
        count = compile_in(folder, &lines);
        folders[i].spoil(folder);
        if (compile_in(folder, &lines) != count)
            fail_msg("a directory is used that is %s", folders[i].name);
        assert_int_equal(lines.count, 1);
        assert_non_null(strstr(lines.text, folder));
        assert_non_null(strstr(lines.text, "expected a directory"));
        assert_non_null(strstr(lines.text, folders[i].says));
        snprintf(moved, sizeof moved, "%s.moved", folder);
        if (folders[i].spoil == make_link && rename(moved, folder) != 0) {
            remove_file(folder);
            assert_int_equal(rename(moved, folder), 0);
        }
        remove_folder(folder);
    }
}

static void expect_private(const char *path)
{
    struct stat found;

    assert_int_equal(stat(path, &found), 0);
    assert_int_equal(found.st_mode & 07777, S_ISDIR(found.st_mode) ? 0700 : 0600);
}

static void what_is_made_is_for_the_user_alone(void **state)
{
    char folder[] = "/tmp/mglu-opencl-trust-XXXXXX", below[64];
    const mode_t mask = umask(0);
    struct lines lines;
    int count;

    assert_non_null(mkdtemp(folder));
    snprintf(below, sizeof below, "%s/cache", folder);
    fake_reset();
    count = compile_in(below, &lines);
    expect_private(below);
    assert_int_equal(for_each_file(below, expect_private), count);
    assert_int_equal(compile_in(below, &lines), 0);
    assert_int_equal(lines.count, 0);
    umask(mask);
    remove_folder(below);
    assert_int_equal(rmdir(folder), 0);
}

/* ---- Selections of the tuner ------------------------------------------------------------------------------------ */

/* The selection is the only entry of its size, a head and a variant, and the only one that is kept. */
static void save_selection(void *user, const char *key, const void *data, size_t size)
{
    if (size == 64 + sizeof(struct mglu_opencl_variant))
        store_save(user, key, data, size);
}

/* Enough weights to be tuned, in f16 with masks: all that is tuned applies. */
static const struct sample_shape tuned = {
    .kind = MGLU_KIND_MASKED, .dtype = MGLU_DTYPE_F16, .h = 2048, .d = 2048, .n_masks = 2};

static const struct {
    size_t offset;
    int32_t value;
} forgeries[] = {
    {offsetof(struct mglu_opencl_variant, lines), 0},
    {offsetof(struct mglu_opencl_variant, lines), -4},
    {offsetof(struct mglu_opencl_variant, lines), 3},
    {offsetof(struct mglu_opencl_variant, lines), 16},
    {offsetof(struct mglu_opencl_variant, lines), INT32_MAX},
    {offsetof(struct mglu_opencl_variant, lines), INT32_MIN},
    {offsetof(struct mglu_opencl_variant, lines), 0x7fc00000 /* NaN as bits */},
    {offsetof(struct mglu_opencl_variant, mask_form), 3},
    {offsetof(struct mglu_opencl_variant, mask_form), -1},
    {offsetof(struct mglu_opencl_variant, half_form), 2},
    {offsetof(struct mglu_opencl_variant, half_form), -1},
    {offsetof(struct mglu_opencl_variant, rows), 0},
    {offsetof(struct mglu_opencl_variant, tokens), 0},
    {offsetof(struct mglu_opencl_variant, slices), 0},
    {offsetof(struct mglu_opencl_variant, matrices), 9},
    {offsetof(struct mglu_opencl_variant, masks), 1},
    {offsetof(struct mglu_opencl_variant, is_glu), 0},
    {offsetof(struct mglu_opencl_variant, routed), 1},
    {offsetof(struct mglu_opencl_variant, weight), MGLU_DTYPE_Q4_0},
};

/* Makes a layer, and a forward and its wait on it, as the cache has it. Returns the launches. */
static int run_tuned(struct store *store, const struct sample *sample, struct lines *lines)
{
    const mglu_program_cache cache = {store, store_load, save_selection};
    const mglu_logger logger = {lines, keep_line, MGLU_LOG_WARN};
    const mglu_context_desc desc = {.struct_size = sizeof desc, .logger = &logger, .program_cache = &cache};
    const mglu_layer_desc one = {.struct_size = sizeof one, .max_batch = 1};
    const int before = fake.calls[FAKE_clEnqueueNDRangeKernel];
    mglu_memory *x = NULL, *y = NULL;
    struct rig rig = {0};

    *lines = (struct lines){.count = 0};
    assert_ok(open_fake_context(&desc, &rig));
    assert_ok(mglu_device_pick(rig.context, "fake", &rig.device));
    assert_ok(mglu_queue_create(rig.device, NULL, &rig.queue));
    assert_ok(mglu_weights_create(rig.device, &sample->desc, &rig.weights));
    assert_ok(mglu_layer_create(rig.weights, &one, &rig.layer));
    assert_ok(mglu_memory_create(rig.device, 2048 * sizeof(float), &x));
    assert_ok(mglu_memory_create(rig.device, 2048 * sizeof(float), &y));
    assert_ok(run_fake(&rig, x, y));
    assert_ok(mglu_queue_wait(rig.queue));
    mglu_memory_destroy(&x);
    mglu_memory_destroy(&y);
    rig_free(&rig);
    return fake.calls[FAKE_clEnqueueNDRangeKernel] - before;
}

static void forge(struct store *store, size_t offset, int32_t value)
{
    const mglu_host host = {.allocator = mglu_default_allocator, .program_cache = {store, store_load, save_selection}};
    struct mglu_opencl_cache cache = {.host = &host};
    char key[MGLU_OPENCL_KEY_SIZE];
    size_t size = 0;
    unsigned char *variant = mglu_opencl_cache_load(&cache, store->entries[0].key, &size);

    assert_non_null(variant);
    memcpy(key, store->entries[0].key, sizeof key);
    memcpy(variant + offset, &value, sizeof value);
    mglu_opencl_cache_store(&cache, key, variant, size);
    mglu_opencl_release(&host, variant, size);
}

static void a_forged_selection_is_measured_anew_and_said(void **state)
{
    struct sample sample = sample_make(&tuned, 3);
    struct store store = {.count = 0};
    struct lines lines;
    int measured, stored;

    fake_reset();
    measured = run_tuned(&store, &sample, &lines);
    assert_int_equal(store.count, 1);
    stored = run_tuned(&store, &sample, &lines);
    assert_true(stored < measured);
    assert_int_equal(lines.count, 0);
    for (size_t i = 0; i < sizeof forgeries / sizeof forgeries[0]; i++) {
        forge(&store, forgeries[i].offset, forgeries[i].value);
        assert_int_equal(run_tuned(&store, &sample, &lines), measured);
        assert_int_equal(lines.count, 1);
        assert_non_null(strstr(lines.text, "measured anew"));
        assert_int_equal(run_tuned(&store, &sample, &lines), stored);
    }
    store_free(&store);
    sample_free(&sample);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(entries_that_others_may_have_written_are_not_used),
        cmocka_unit_test(a_directory_that_others_may_have_written_is_not_used_and_said_once),
        cmocka_unit_test(what_is_made_is_for_the_user_alone),
        cmocka_unit_test(a_forged_selection_is_measured_anew_and_said),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
