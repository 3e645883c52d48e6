/* SPDX-License-Identifier: MIT */
#include "tests/unit/io/support.h"
#include "tests/unit/stack.h"

/* No call of libmglu-io needs more stack than docs/embedding.md says. */

static const float numbers[2 * 64];
static const uint8_t masks[2 * 64];
static mglu_file_writer *writer;
static mglu_file *file;

static void write_checkpoint(void)
{
    const mglu_file_tensor weight = {"m.weight", MGLU_FILE_F32, 2, (const int64_t[]){2, 64}, numbers, 0};
    const mglu_file_tensor mask = {"m.mask", MGLU_FILE_U8, 3, (const int64_t[]){1, 2, 64}, masks, 0};

    assert_ok(mglu_file_writer_create(&writer));
    assert_ok(mglu_file_writer_metadata(writer, "mglu.activation", "silu"));
    assert_ok(mglu_file_writer_tensor(writer, &weight));
    assert_ok(mglu_file_writer_tensor(writer, &mask));
    assert_ok(mglu_file_writer_commit(writer, scratch("checkpoint")));
    mglu_file_writer_destroy(&writer);
}

static void pack(void)
{
    assert_ok(mglu_file_pack(scratch("checkpoint"), scratch("packed"), NULL));
}

static void read_back(void)
{
    mglu_weights_desc weights = {.struct_size = sizeof weights};
    mglu_layer_desc layer = {.struct_size = sizeof layer};

    for (uint32_t flags = 0; flags <= MGLU_FILE_MMAP; flags += MGLU_FILE_MMAP) {
        assert_ok(mglu_file_open(scratch("packed"), flags, &file));
        assert_ok(mglu_file_layer(file, "m", &weights, &layer, NULL));
        mglu_file_close(&file);
    }
}

/* As deep as the format allows, and deeper. */
static void refuse_nesting(void)
{
    static char header[4096];

    memset(header, '[', sizeof header - 1);
    write_with_header(scratch("nested"), header, 0);
    assert_status(mglu_file_open(scratch("nested"), 0, &file), MGLU_ERROR_CORRUPT_FILE);
}

static void every_call_fits(void **state)
{
    struct stack_depth deepest = {0};

    stack_measure("writing", write_checkpoint, &deepest);
    stack_measure("mglu_file_pack", pack, &deepest);
    stack_measure("reading", read_back, &deepest);
    stack_measure("a nested header", refuse_nesting, &deepest);
    print_message("deepest: %s, %zu bytes\n", deepest.name, deepest.bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_call_fits, make_scratch, remove_scratch),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
