/* SPDX-License-Identifier: MIT */
#include "tests/unit/io/support.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static const unsigned char numbers[256] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20};

static mglu_file_writer *new_writer(void)
{
    mglu_file_writer *writer;

    assert_ok(mglu_file_writer_create(&writer));
    return writer;
}

/* A writer with one tensor "a" of `count` bytes. */
static mglu_file_writer *writer_of_bytes(const void *data, size_t count)
{
    mglu_file_writer *writer = new_writer();
    mglu_file_tensor tensor = {"a", MGLU_FILE_U8, 1, SHAPE((int64_t)count), data, count};

    assert_ok(mglu_file_writer_tensor(writer, &tensor));
    return writer;
}

static void what_is_written_is_read_back(void **state)
{
    const mglu_file_tensor tensors[] = {
        {"scalar", MGLU_FILE_F64, 0, SHAPE(0), numbers, 8},
        {"empty", MGLU_FILE_I32, 2, SHAPE(0, 7), NULL, 0},
        {"bytes", MGLU_FILE_BOOL, 1, SHAPE(5), numbers, 0},
        {"matrix \"q\" \xc3\xa4\n", MGLU_FILE_BF16, 2, SHAPE(3, 2), numbers + 3, 12},
        {"rank 9", MGLU_FILE_U64, 9, SHAPE(1, 1, 2, 1, 1, 1, 1, 2, 1), numbers, 32},
        {"nibbles", MGLU_FILE_F4, 2, SHAPE(3, 2), numbers, 3},
    };
    mglu_file_writer *writer = new_writer();
    mglu_file *file;

    assert_ok(mglu_file_writer_metadata(writer, "format", "x"));
    assert_ok(mglu_file_writer_metadata(writer, "note", "line\n\"two\""));
    assert_ok(mglu_file_writer_metadata(writer, "format", "pt"));
    for (size_t i = 0; i < COUNT(tensors); i++)
        assert_ok(mglu_file_writer_tensor(writer, &tensors[i]));
    assert_ok(mglu_file_writer_commit(writer, scratch("x")));
    mglu_file_writer_destroy(&writer);
    assert_null(writer);
    assert_ok(mglu_file_open(scratch("x"), 0, &file));
    assert_int_equal(mglu_file_tensor_count(file), COUNT(tensors));
    for (size_t i = 0; i < COUNT(tensors); i++) {
        const mglu_file_tensor *found = mglu_file_find(file, tensors[i].name);

        assert_non_null(found);
        assert_int_equal(found->dtype, tensors[i].dtype);
        assert_int_equal(found->rank, tensors[i].rank);
        assert_memory_equal(found->shape, tensors[i].shape, (size_t)found->rank * sizeof found->shape[0]);
        if (found->bytes)
            assert_memory_equal(found->data, tensors[i].data, found->bytes);
    }
    assert_string_equal(mglu_file_metadata(file, "format"), "pt");
    assert_string_equal(mglu_file_metadata(file, "note"), "line\n\"two\"");
    assert_null(mglu_file_metadata_key(file, 2));
    mglu_file_close(&file);
}

static void a_file_may_be_empty(void **state)
{
    mglu_file_writer *writer = new_writer();
    mglu_file *file;

    assert_ok(mglu_file_writer_commit(writer, scratch("x")));
    assert_ok(mglu_file_open(scratch("x"), 0, &file));
    assert_int_equal(mglu_file_tensor_count(file), 0);
    mglu_file_close(&file);
    mglu_file_writer_destroy(&writer);
    mglu_file_writer_destroy(&writer);
    mglu_file_writer_destroy(NULL);
}

/* Offset of a tensor in its file. */
static size_t place_of(const mglu_file *file, const mglu_file_tensor *tensor)
{
    return (size_t)((uintptr_t)tensor->data - (uintptr_t)mglu_file_tensor_at(file, 0)->data);
}

static void tensors_are_aligned_as_far_as_their_sizes_allow(void **state)
{
    static const int64_t sizes[] = {3, 64, 2, 12, 128, 1, 192, 6, 32, 0, 8, 64};
    mglu_file_writer *writer = new_writer();
    mglu_file *file;
    size_t size;
    unsigned char *bytes;

    for (size_t i = 0; i < COUNT(sizes); i++) {
        char name[8];
        mglu_file_tensor tensor = {name, MGLU_FILE_U8, 1, SHAPE(sizes[i]), numbers, 0};

        snprintf(name, sizeof name, "%zu", i);
        assert_ok(mglu_file_writer_tensor(writer, &tensor));
    }
    assert_ok(mglu_file_writer_commit(writer, scratch("x")));
    mglu_file_writer_destroy(&writer);
    assert_ok(mglu_file_open(scratch("x"), 0, &file));
    for (size_t i = 0; i < COUNT(sizes); i++) {
        const mglu_file_tensor *tensor = mglu_file_tensor_at(file, i);
        size_t alignment = tensor->bytes % 64 ? tensor->bytes & -tensor->bytes : 64;

        assert_int_equal(place_of(file, tensor) % alignment, 0);
    }
    mglu_file_close(&file);
    bytes = read_bytes(scratch("x"), &size);
    assert_int_equal((8 + bytes[0] + 256 * bytes[1]) % 64, 0);
    free(bytes);
}

static void equally_aligned_tensors_keep_the_order_of_insertion(void **state)
{
    static const char *const names[] = {"z", "a", "m"};
    mglu_file_writer *writer = new_writer();
    mglu_file *file;

    for (size_t i = 0; i < COUNT(names); i++)
        assert_ok(
            mglu_file_writer_tensor(writer, &(mglu_file_tensor){names[i], MGLU_FILE_F32, 1, SHAPE(1), numbers, 4}));
    assert_ok(mglu_file_writer_commit(writer, scratch("x")));
    mglu_file_writer_destroy(&writer);
    assert_ok(mglu_file_open(scratch("x"), 0, &file));
    for (size_t i = 0; i < COUNT(names); i++)
        assert_string_equal(mglu_file_tensor_at(file, i)->name, names[i]);
    mglu_file_close(&file);
}

static void the_umask_decides_who_may_read_a_new_file(void **state)
{
    static const mode_t masks[] = {0022, 0077, 0002};
    mglu_file_writer *writer = writer_of_bytes(numbers, 5);

    for (size_t i = 0; i < COUNT(masks); i++) {
        mode_t before = umask(masks[i]);
        struct stat about;

        assert_ok(mglu_file_writer_commit(writer, scratch("x")));
        umask(before);
        assert_int_equal(stat(scratch("x"), &about), 0);
        assert_int_equal(about.st_mode & 0777, 0666 & ~masks[i]);
        remove(scratch("x"));
    }
    mglu_file_writer_destroy(&writer);
}

static void a_commit_replaces_an_older_file_and_can_be_repeated(void **state)
{
    mglu_file_writer *writer = writer_of_bytes(numbers, 5);
    size_t size, again_size;
    unsigned char *bytes, *again;

    write_bytes(scratch("x"), "older", 5);
    assert_ok(mglu_file_writer_commit(writer, scratch("x")));
    assert_ok(mglu_file_writer_commit(writer, scratch("y")));
    assert_int_equal(scratch_count(), 2);
    bytes = read_bytes(scratch("x"), &size);
    again = read_bytes(scratch("y"), &again_size);
    assert_int_equal(size, again_size);
    assert_memory_equal(bytes, again, size);
    free(bytes);
    free(again);
    mglu_file_writer_destroy(&writer);
}

static void a_path_may_be_short_or_long(void **state)
{
    char name[256], here[1024];
    mglu_file_writer *writer = writer_of_bytes(numbers, 5);

    memset(name, 'n', 255);
    name[255] = '\0';
    assert_ok(mglu_file_writer_commit(writer, scratch(name)));
    assert_non_null(getcwd(here, sizeof here));
    assert_int_equal(chdir(scratch(".")), 0);
    assert_ok(mglu_file_writer_commit(writer, "y"));
    assert_int_equal(chdir(here), 0);
    assert_int_equal(access(scratch("y"), R_OK), 0);
    assert_int_equal(scratch_count(), 2);
    mglu_file_writer_destroy(&writer);
}

static void temporary_files_of_others_are_not_used(void **state)
{
    char name[64];
    mglu_file_writer *writer = writer_of_bytes(numbers, 5);
    size_t size;
    unsigned char *bytes;

    snprintf(name, sizeof name, ".mglu-%ld-0.tmp", (long)getpid());
    write_bytes(scratch(name), "left", 4);
    assert_ok(mglu_file_writer_commit(writer, scratch("x")));
    bytes = read_bytes(scratch(name), &size);
    assert_int_equal(size, 4);
    assert_int_equal(scratch_count(), 2);
    free(bytes);
    mglu_file_writer_destroy(&writer);
}

static void a_path_that_cannot_be_written_is_an_io_error(void **state)
{
    mglu_file_writer *writer = writer_of_bytes(numbers, 5);
    struct stat about;

    assert_status(mglu_file_writer_commit(writer, scratch("absent/x")), MGLU_ERROR_IO);
    assert_error_says("absent/x: cannot create a file in its folder: No such file");
    assert_status(mglu_file_writer_commit(writer, scratch(".")), MGLU_ERROR_IO);
    assert_error_says("not a regular file");
    assert_status(mglu_file_writer_commit(writer, "/dev/full"), MGLU_ERROR_IO);
    assert_error_says("/dev/full: cannot write: not a regular file");
    assert_int_equal(stat("/dev/full", &about), 0);
    assert_true(S_ISCHR(about.st_mode));
    assert_int_equal(scratch_count(), 0);
    mglu_file_writer_destroy(&writer);
}

/* A limit on file sizes has the effect of a full disk: both make write() fail after a part. */
static void a_full_disk_leaves_the_older_file_and_nothing_else(void **state)
{
    enum { LARGE = 1 << 20, LIMIT = 1 << 16 };
    unsigned char *data = calloc(1, LARGE), *bytes;
    mglu_file_writer *writer = writer_of_bytes(data, LARGE);
    struct rlimit before, limit;
    void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
    mglu_status status;
    size_t size;

    write_bytes(scratch("x"), "older", 5);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    limit = before;
    limit.rlim_cur = LIMIT;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    status = mglu_file_writer_commit(writer, scratch("x"));
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    signal(SIGXFSZ, handler);
    assert_int_equal(status, MGLU_ERROR_IO);
    assert_error_says("x: cannot write: File too large");
    assert_int_equal(scratch_count(), 1);
    bytes = read_bytes(scratch("x"), &size);
    assert_int_equal(size, 5);
    assert_memory_equal(bytes, "older", 5);
    free(bytes);
    assert_ok(mglu_file_writer_commit(writer, scratch("x")));
    mglu_file_writer_destroy(&writer);
    free(data);
}

static void wrong_tensors_are_refused(void **state)
{
    const struct {
        mglu_file_tensor tensor;
        const char *says;
    } cases[] = {
        {{NULL, MGLU_FILE_U8, 1, SHAPE(1), numbers, 1}, "needs a name"},
        {{"", MGLU_FILE_U8, 1, SHAPE(1), numbers, 1}, "needs a name"},
        {{"__metadata__", MGLU_FILE_U8, 1, SHAPE(1), numbers, 1}, "needs a name"},
        {{"a", MGLU_FILE_U8, 1, SHAPE(1), numbers, 1}, "tensor 'a' was added already"},
        {{"b\xff", MGLU_FILE_U8, 1, SHAPE(1), numbers, 1}, "tensor name is not UTF-8"},
        {{"b", (mglu_file_dtype)99, 1, SHAPE(1), numbers, 1}, "tensor 'b': unknown dtype 99"},
        {{"b", MGLU_FILE_U8, -1, SHAPE(1), numbers, 1}, "tensor 'b': rank -1"},
        {{"b", MGLU_FILE_U8, 65, SHAPE(1), numbers, 1}, "tensor 'b': rank 65"},
        {{"b", MGLU_FILE_U8, 1, NULL, numbers, 1}, "tensor 'b': shape is NULL"},
        {{"b", MGLU_FILE_U8, 1, SHAPE(-1), numbers, 0}, "tensor 'b': its shape is negative"},
        {{"b", MGLU_FILE_F4, 1, SHAPE(3), numbers, 0}, "no whole number of bytes"},
        {{"b", MGLU_FILE_F64, 2, SHAPE(INT64_MAX, 4), numbers, 0}, "too large"},
        {{"b", MGLU_FILE_F64, 1, SHAPE((int64_t)1 << 50), numbers, 0}, "more than 2^53 bytes"},
        {{"b", MGLU_FILE_F16, 1, SHAPE(3), numbers, 5}, "tensor 'b': 5 bytes, its shape needs 6"},
        {{"b", MGLU_FILE_F16, 1, SHAPE(3), NULL, 0}, "tensor 'b': data is NULL"},
    };
    mglu_file_writer *writer = writer_of_bytes(numbers, 5);

    for (size_t i = 0; i < COUNT(cases); i++) {
        assert_status(mglu_file_writer_tensor(writer, &cases[i].tensor), MGLU_ERROR_INVALID_ARGUMENT);
        assert_error_says(cases[i].says);
    }
    assert_status(mglu_file_writer_metadata(writer, "k\xff", "v"), MGLU_ERROR_INVALID_ARGUMENT);
    assert_error_says("metadata key is not UTF-8");
    assert_status(mglu_file_writer_metadata(writer, "k", "\xc3"), MGLU_ERROR_INVALID_ARGUMENT);
    assert_error_says("metadata value is not UTF-8");
    mglu_file_writer_destroy(&writer);
}

static void missing_arguments_are_refused(void **state)
{
    mglu_file_writer *writer = new_writer();

    assert_status(mglu_file_writer_create(NULL), MGLU_ERROR_INVALID_ARGUMENT);
    assert_status(mglu_file_writer_metadata(NULL, "k", "v"), MGLU_ERROR_INVALID_ARGUMENT);
    assert_status(mglu_file_writer_metadata(writer, NULL, "v"), MGLU_ERROR_INVALID_ARGUMENT);
    assert_status(mglu_file_writer_metadata(writer, "k", NULL), MGLU_ERROR_INVALID_ARGUMENT);
    assert_status(mglu_file_writer_tensor(NULL, &(mglu_file_tensor){.name = "a"}), MGLU_ERROR_INVALID_ARGUMENT);
    assert_status(mglu_file_writer_tensor(writer, NULL), MGLU_ERROR_INVALID_ARGUMENT);
    assert_status(mglu_file_writer_commit(NULL, "x"), MGLU_ERROR_INVALID_ARGUMENT);
    assert_status(mglu_file_writer_commit(writer, NULL), MGLU_ERROR_INVALID_ARGUMENT);
    mglu_file_writer_destroy(&writer);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_scratch, remove_scratch)
    const struct CMUnitTest tests[] = {
        TEST(what_is_written_is_read_back),
        TEST(a_file_may_be_empty),
        TEST(tensors_are_aligned_as_far_as_their_sizes_allow),
        TEST(equally_aligned_tensors_keep_the_order_of_insertion),
        TEST(the_umask_decides_who_may_read_a_new_file),
        TEST(a_commit_replaces_an_older_file_and_can_be_repeated),
        TEST(a_path_may_be_short_or_long),
        TEST(temporary_files_of_others_are_not_used),
        TEST(a_path_that_cannot_be_written_is_an_io_error),
        TEST(a_full_disk_leaves_the_older_file_and_nothing_else),
        TEST(wrong_tensors_are_refused),
        TEST(missing_arguments_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
