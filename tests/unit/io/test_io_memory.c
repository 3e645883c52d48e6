/* SPDX-License-Identifier: MIT */
#include "tests/unit/io/inputs.h"
#include "tests/unit/io/support.h"

#include <mglu/pack.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

/*
 * Every allocation of the library fails once, no matter who makes it. The memory functions of glibc are replaced in
 * this program, so it is not built with sanitizers.
 */

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *memory, size_t size);
extern void *__libc_memalign(size_t alignment, size_t size);
extern void __libc_free(void *memory);

static size_t failing, calls; /* the call number that fails; 0: none */
static long living;           /* blocks allocated and not freed */

static int refused(void)
{
    return failing && ++calls == failing;
}

static void *counted(void *memory)
{
    living += memory != NULL;
    return memory;
}

void *malloc(size_t size)
{
    return refused() ? NULL : counted(__libc_malloc(size));
}

void *calloc(size_t count, size_t size)
{
    return refused() ? NULL : counted(__libc_calloc(count, size));
}

void *realloc(void *memory, size_t size)
{
    void *moved;

    if (refused())
        return NULL;
    moved = __libc_realloc(memory, size);
    return memory ? moved : counted(moved);
}

int posix_memalign(void **memory, size_t alignment, size_t size)
{
    *memory = refused() ? NULL : counted(__libc_memalign(alignment, size));
    return *memory ? 0 : ENOMEM;
}

void free(void *memory)
{
    living -= memory != NULL;
    __libc_free(memory);
}

/* Whenever reading succeeds. */
static void check_content(const mglu_file *file)
{
    static const char *const names[] = {"m.up_proj.mask", "m.up_proj.weight", "m.down_proj.weight", "norm"};

    for (size_t i = 0; i < COUNT(names); i++)
        assert_non_null(mglu_file_find(file, names[i]));
    assert_int_equal(mglu_file_tensor_count(file), COUNT(names));
    assert_string_equal(mglu_file_metadata(file, "note"), input_note);
    assert_string_equal(mglu_file_layer_at(file, 0), "m.up_proj");
}

static mglu_status open_and_describe(void)
{
    mglu_file *file;
    mglu_weights_desc weights = {.struct_size = sizeof weights};
    mglu_layer_desc layer = {.struct_size = sizeof layer};
    mglu_status status = mglu_file_open(scratch("in"), 0, &file);

    if (status == MGLU_OK) {
        check_content(file);
        status = mglu_file_layer(file, "m", &weights, &layer, NULL);
    }
    mglu_file_close(&file);
    return status;
}

static mglu_status map(void)
{
    mglu_file *file;
    mglu_status status = mglu_file_open(scratch("in"), MGLU_FILE_MMAP, &file);

    if (status == MGLU_OK)
        check_content(file);
    mglu_file_close(&file);
    return status;
}

static mglu_status map_gguf(void)
{
    mglu_file *file;
    mglu_status status = mglu_file_open(scratch("in.gguf"), MGLU_FILE_MMAP, &file);

    mglu_file_close(&file);
    return status;
}

static mglu_status pack_gguf(void)
{
    return mglu_file_pack(scratch("in.gguf"), scratch("out"), NULL);
}

static mglu_status write_gguf(void)
{
    const mglu_file_pack_options options = {
        .struct_size = sizeof options, .convert = 1, .dtype = MGLU_DTYPE_F16, .format = MGLU_FILE_FORMAT_GGUF};

    return mglu_file_pack(scratch("in"), scratch("out"), &options);
}

static mglu_status write_one(void)
{
    mglu_file_writer *writer;
    mglu_file_tensor tensor = {"a", MGLU_FILE_U8, 1, SHAPE(4), "data", 4};
    mglu_status status = mglu_file_writer_create(&writer);

    if (status == MGLU_OK)
        status = mglu_file_writer_metadata(writer, "key", "value");
    if (status == MGLU_OK)
        status = mglu_file_writer_tensor(writer, &tensor);
    if (status == MGLU_OK)
        status = mglu_file_writer_commit(writer, scratch("out"));
    mglu_file_writer_destroy(&writer);
    return status;
}

/* The folder is the scratch folder, whose index names "in". */
static mglu_status open_folder(void)
{
    char folder[600];
    mglu_file *file;
    mglu_status status;

    snprintf(folder, sizeof folder, "%s", scratch("."));
    status = mglu_file_open_folder(folder, 0, &file);
    if (status == MGLU_OK)
        check_content(file);
    mglu_file_close(&file);
    return status;
}

static mglu_status pack(void)
{
    const mglu_file_pack_options options = {.struct_size = sizeof options, .convert = 1, .dtype = MGLU_DTYPE_F16};

    return mglu_file_pack(scratch("in"), scratch("out"), &options);
}

static mglu_status pack_quantised(void)
{
    const mglu_file_pack_options options = {.struct_size = sizeof options, .convert = 1, .dtype = MGLU_DTYPE_Q8_0};

    return mglu_file_pack(scratch("in"), scratch("out"), &options);
}

/* Layers of which copies are made: in F64, stored by columns, with alternating biases, and with masks of I64. */
static mglu_status describe_copies(void)
{
    static const char *const names[] = {"e.0", "e.1", "p"};
    mglu_file *file;
    mglu_weights_desc weights = {.struct_size = sizeof weights};
    mglu_layer_desc layer = {.struct_size = sizeof layer};
    mglu_status status = mglu_file_open(scratch("in"), MGLU_FILE_FUSED_INTERLEAVED, &file);

    for (size_t i = 0; i < COUNT(names) && status == MGLU_OK; i++)
        status = mglu_file_layer(file, names[i], &weights, &layer, NULL);
    mglu_file_close(&file);
    return status;
}

static mglu_status pack_copies(void)
{
    return mglu_file_pack(scratch("in"), scratch("out"), NULL);
}

static void write_copies(void)
{
    static const struct part parts[] = {
        {"e.gate_up_proj", "F64", "2, 3, 4", NULL, 192},
        {"e.down_proj", "F32", "2, 2, 3", NULL, 48},
        {"e.gate_up_proj_bias", "F16", "2, 4", NULL, 16},
        {"p.weight", "BF16", "2, 3", NULL, 12},
        {"p.mask", "I64", "2, 3", NULL, 48},
    };

    remove(scratch("in"));
    write_parts(scratch("in"), NULL, parts, COUNT(parts));
}

/* In the place of the GGUF file, so that there are as many files as for the other scripts. */
static void write_shards(void)
{
    static const char index[] = "{\"weight_map\":{\"m.up_proj.weight\":\"in\",\"m.up_proj.mask\":\"in\","
                                "\"m.down_proj.weight\":\"in\",\"norm\":\"in\"}}";

    remove(scratch("in.gguf"));
    remove(scratch("in"));
    write_masked_input();
    write_bytes(scratch("model.safetensors.index.json"), index, sizeof index - 1);
}

/* What a script writes when nothing fails; NULL when it writes nothing. */
static unsigned char *expected_output(mglu_status (*script)(void), size_t *size)
{
    unsigned char *bytes = NULL;

    assert_ok(script());
    if (scratch_count() > 2)
        bytes = read_bytes(scratch("out"), size);
    remove(scratch("out"));
    return bytes;
}

static void assert_complete(const unsigned char *expected, size_t expected_size)
{
    size_t size;
    unsigned char *bytes;

    if (!expected)
        return;
    bytes = read_bytes(scratch("out"), &size);
    assert_int_equal(size, expected_size);
    assert_memory_equal(bytes, expected, size);
    free(bytes);
}

/* Runs the script with its 1st, 2nd ... allocation failing, until none is left to fail. */
static size_t fail_each_allocation(mglu_status (*script)(void))
{
    size_t reported = 0, size = 0;
    unsigned char *expected = expected_output(script, &size);

    for (size_t call = 1;; call++) {
        long before = living;
        mglu_status status;

        calls = 0;
        failing = call;
        status = script();
        failing = 0;
        assert_int_equal(living, before);
        /* whatever has a way without the memory has the same result */
        if (status == MGLU_OK) {
            assert_complete(expected, size);
        } else {
            reported++;
            assert_int_equal(status, MGLU_ERROR_OUT_OF_MEMORY);
            assert_int_equal(scratch_count(), 2);
        }
        remove(scratch("out"));
        if (calls < call)
            break;
    }
    free(expected);
    return reported;
}

static void every_failing_allocation_is_reported_and_nothing_leaks(void **state)
{
    static const struct {
        mglu_status (*script)(void);
        void (*write_input)(void);
        size_t at_least; /* the expected number of reported failures: fewer would mean that the replacement no longer
                            works */
    } cases[] = {
        {open_and_describe, write_masked_input, 11},
        {map, write_masked_input, 10},
        {write_one, write_masked_input, 9},
        {pack, write_masked_input, 22},
        {pack_quantised, write_masked_input, 24},
        {describe_copies, write_copies, 22},
        {pack_copies, write_copies, 30},
        {map_gguf, write_masked_input, 15},
        {pack_gguf, write_masked_input, 20},
        {write_gguf, write_masked_input, 18},
        {open_folder, write_shards, 40},
    };

    write_gguf_input("in.gguf");
    /* a thread's first failure allocates its text, which stays */
    assert_status(mglu_file_open(NULL, 0, NULL), MGLU_ERROR_INVALID_ARGUMENT);
    for (size_t i = 0; i < COUNT(cases); i++) {
        size_t reported;

        cases[i].write_input();
        reported = fail_each_allocation(cases[i].script);

        if (reported < cases[i].at_least)
            fail_msg("script %zu: %zu failures were reported, expected %zu", i, reported, cases[i].at_least);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_failing_allocation_is_reported_and_nothing_leaks, make_scratch,
                                        remove_scratch),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
