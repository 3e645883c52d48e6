/* SPDX-License-Identifier: MIT */
#include "tests/unit/io/support.h"

#include <mglu/pack.h>

#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

/*
 * Every allocation of the library fails once. The memory functions of glibc are replaced in this program, so it is not
 * built with sanitizers. While JSON is read, jansson's own allocations succeed: it reports some failed allocations as
 * syntax errors, so that the status is not out_of_memory.
 */

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *memory, size_t size);
extern void *__libc_memalign(size_t alignment, size_t size);
extern void __libc_free(void *memory);

static size_t failing, calls; /* the call number that fails; 0: none */
static int spare_jansson;
static long living; /* blocks allocated and not freed */

static int is_jansson(const void *caller)
{
    Dl_info about;

    return dladdr(caller, &about) && about.dli_fname && strstr(about.dli_fname, "jansson");
}

static int refused(const void *caller)
{
    return failing && !(spare_jansson && is_jansson(caller)) && ++calls == failing;
}

static void *counted(void *memory)
{
    living += memory != NULL;
    return memory;
}

void *malloc(size_t size)
{
    return refused(__builtin_return_address(0)) ? NULL : counted(__libc_malloc(size));
}

void *calloc(size_t count, size_t size)
{
    return refused(__builtin_return_address(0)) ? NULL : counted(__libc_calloc(count, size));
}

void *realloc(void *memory, size_t size)
{
    void *moved;

    if (refused(__builtin_return_address(0)))
        return NULL;
    moved = __libc_realloc(memory, size);
    return memory ? moved : counted(moved);
}

int posix_memalign(void **memory, size_t alignment, size_t size)
{
    *memory = refused(__builtin_return_address(0)) ? NULL : counted(__libc_memalign(alignment, size));
    return *memory ? 0 : ENOMEM;
}

void free(void *memory)
{
    living -= memory != NULL;
    __libc_free(memory);
}

static mglu_status open_and_describe(void)
{
    mglu_file *file;
    mglu_weights_desc weights;
    mglu_layer_desc layer;
    mglu_status status = mglu_file_open(scratch("in"), 0, &file);

    if (status == MGLU_OK)
        status = mglu_file_layer(file, "m", &weights, &layer, NULL);
    mglu_file_close(&file);
    return status;
}

static mglu_status map(void)
{
    mglu_file *file;
    mglu_status status = mglu_file_open(scratch("in"), MGLU_FILE_MMAP, &file);

    mglu_file_close(&file);
    return status;
}

static mglu_status write_one(void)
{
    mglu_file_writer *writer;
    mglu_file_tensor tensor = {"a", MGLU_FILE_U8, 1, {4}, "data", 4};
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

static mglu_status pack(void)
{
    const mglu_file_pack_options options = {.struct_size = sizeof options, .convert = 1, .dtype = MGLU_DTYPE_F16};

    return mglu_file_pack(scratch("in"), scratch("out"), &options);
}

static void write_input(void)
{
    static const struct part parts[] = {
        {"m.up_proj.weight", "F32", "2, 3", NULL, 24},
        {"m.up_proj.mask", "F32", "2, 2, 3", NULL, 48},
        {"m.down_proj.weight", "F32", "3, 2", NULL, 24},
        {"norm", "F32", "3", NULL, 12},
    };

    write_parts(scratch("in"), "{\"format\":\"pt\",\"note\":\"x\"}", parts, COUNT(parts));
}

/* Runs the script with its 1st, 2nd ... allocation failing, until none is left to fail. */
static size_t fail_each_allocation(mglu_status (*script)(void))
{
    size_t reported = 0;

    for (size_t call = 1;; call++) {
        long before = living;
        mglu_status status;

        calls = 0;
        failing = call;
        status = script();
        failing = 0;
        assert_int_equal(living, before);
        if (calls < call) {
            assert_int_equal(status, MGLU_OK);
            return reported;
        }
        /* sorting and syncing have a way without additional memory */
        if (status != MGLU_OK) {
            reported++;
            assert_int_equal(status, MGLU_ERROR_OUT_OF_MEMORY);
            assert_int_equal(scratch_count(), 1);
        }
        remove(scratch("out"));
    }
}

static void every_failing_allocation_is_reported_and_nothing_leaks(void **state)
{
    static const struct {
        mglu_status (*script)(void);
        int reads_json;
        size_t at_least; /* the expected number of reported failures: fewer would mean that the replacement no longer
                            works */
    } cases[] = {{open_and_describe, 1, 10}, {map, 1, 9}, {write_one, 0, 30}, {pack, 1, 20}};

    write_input();
    for (size_t i = 0; i < COUNT(cases); i++) {
        size_t reported;

        spare_jansson = cases[i].reads_json;
        reported = fail_each_allocation(cases[i].script);
        if (reported < cases[i].at_least)
            fail_msg("script %zu: %zu failures were reported, expected %zu", i, reported, cases[i].at_least);
        remove(scratch("out"));
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
