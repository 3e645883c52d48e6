/* SPDX-License-Identifier: MIT */
#include "tests/unit/io/support.h"

#include <mglu/pack.h>

#include <stdio.h>
#include <stdlib.h>

/* GGUF files that the library writes are read as the layers of the safetensors file that it writes from the same input.
 */

enum { FLOATS = 4096 };

static float floats[FLOATS];
static unsigned char bits[FLOATS];

static void fill(void)
{
    unsigned state = 7;

    for (size_t i = 0; i < FLOATS; i++) {
        state = state * 1664525 + 1013904223;
        floats[i] = (float)(int)(state >> 16 & 0xff) / 64 - 2;
        bits[i] = state >> 30 & 1;
    }
}

#define MATRIX(name, shape, elements)                                                                                  \
    {                                                                                                                  \
        name, "F32", shape, floats, 4 * (elements)                                                                     \
    }

/* A masked block with every part, h = 32 and d = 64; a plain one; one projection alone. */
static void write_checkpoint(void)
{
    static const struct part parts[] = {
        MATRIX("a.mlp.up_proj.weight", "64, 32", 2048),
        {"a.mlp.up_proj.mask", "U8", "2, 64, 32", bits, 4096},
        MATRIX("a.mlp.up_proj.gate_bias", "2, 64", 128),
        {"a.mlp.up_proj.value_bias", "BF16", "2, 64", NULL, 256},
        MATRIX("a.mlp.up_proj.router.weight", "2, 32", 64),
        MATRIX("a.mlp.down_proj.weight", "32, 64", 2048),
        MATRIX("a.mlp.down_proj.bias", "32", 32),
        MATRIX("b.gate_proj.weight", "32, 32", 1024),
        MATRIX("b.up_proj.weight", "32, 32", 1024),
        MATRIX("b.gate_proj.bias", "32", 32),
        MATRIX("b.up_proj.bias", "32", 32),
        MATRIX("b.down_proj.weight", "64, 32", 2048),
        MATRIX("c.weight", "3, 32", 96),
        {"c.mask", "F32", "3, 32", floats, 384},
    };

    write_parts(scratch("in"), "{\"mglu.activation\":\"relu\",\"mglu.activation.c\":\"gelu_erf\",\"note\":\"x\"}",
                parts, COUNT(parts));
}

/* Every tensor of one file is in the other, with the same bytes. */
static void assert_contains(const mglu_file *file, const mglu_file *part)
{
    for (size_t i = 0; i < mglu_file_tensor_count(part); i++) {
        const mglu_file_tensor *want = mglu_file_tensor_at(part, i), *got = mglu_file_find(file, want->name);

        if (!got || got->dtype != want->dtype || got->rank != want->rank || got->bytes != want->bytes)
            fail_msg("%s: another tensor", want->name);
        for (int32_t k = 0; k < want->rank; k++)
            assert_int_equal(got->shape[k], want->shape[k]);
        if (memcmp(got->data, want->data, want->bytes) != 0)
            fail_msg("%s: other bytes", want->name);
    }
}

static void pack_both(mglu_file_pack_options options)
{
    options.struct_size = sizeof options;
    options.format = MGLU_FILE_FORMAT_SAFETENSORS;
    assert_ok(mglu_file_pack(scratch("in"), scratch("out.safetensors"), &options));
    options.format = MGLU_FILE_FORMAT_GGUF;
    assert_ok(mglu_file_pack(scratch("in"), scratch("out.gguf"), &options));
}

static void the_layers_are_those_of_the_safetensors_file(void **state)
{
    write_checkpoint();
    for (int convert = 0; convert < 2; convert++)
        for (mglu_dtype dtype = MGLU_DTYPE_F32; dtype < (convert ? MGLU_DTYPE_COUNT : 1); dtype++)
            for (uint32_t flags = 0; flags <= MGLU_FILE_MMAP; flags += MGLU_FILE_MMAP) {
                mglu_file *want, *got;

                pack_both((mglu_file_pack_options){.convert = convert, .dtype = dtype});
                assert_ok(mglu_file_open(scratch("out.safetensors"), flags, &want));
                assert_ok(mglu_file_open(scratch("out.gguf"), flags, &got));
                assert_int_equal(mglu_file_tensor_count(got), mglu_file_tensor_count(want));
                assert_contains(got, want);
                mglu_file_close(&want);
                mglu_file_close(&got);
            }
}

/* More rows than are converted at once. */
static void a_large_matrix_is_written_in_full(void **state)
{
    enum { ROWS = 40000, COLUMNS = 32 };
    float *weights = malloc(sizeof(float) * ROWS * COLUMNS);
    const struct part parts[] = {
        {"p.weight", "F32", "40000, 32", weights, sizeof(float) * ROWS * COLUMNS},
        {"p.mask", "U8", "40000, 32", NULL, ROWS * COLUMNS},
    };
    mglu_file *want, *got;

    assert_non_null(weights);
    for (size_t i = 0; i < (size_t)ROWS * COLUMNS; i++)
        weights[i] = (float)(i % 1000003);
    write_parts(scratch("in"), NULL, parts, COUNT(parts));
    free(weights);
    pack_both((mglu_file_pack_options){0});
    assert_ok(mglu_file_open(scratch("out.safetensors"), 0, &want));
    assert_ok(mglu_file_open(scratch("out.gguf"), 0, &got));
    assert_contains(got, want);
    mglu_file_close(&want);
    mglu_file_close(&got);
}

static void activations_and_names_are_kept(void **state)
{
    static const struct {
        const char *prefix;
        mglu_activation named, given; /* by the file; with an option for the rest of the layers */
    } layers[] = {
        {"a.mlp", MGLU_ACTIVATION_RELU, MGLU_ACTIVATION_SIGMOID},
        {"a.mlp.up_proj", MGLU_ACTIVATION_RELU, MGLU_ACTIVATION_SIGMOID},
        {"b", MGLU_ACTIVATION_RELU, MGLU_ACTIVATION_SIGMOID},
        {"c", MGLU_ACTIVATION_GELU_ERF, MGLU_ACTIVATION_GELU_ERF},
    };

    write_checkpoint();
    for (int given = 0; given < 2; given++) {
        mglu_file *file;
        mglu_weights_desc weights = {.struct_size = sizeof weights};
        mglu_layer_desc desc = {.struct_size = sizeof desc};

        pack_both((mglu_file_pack_options){.activation = given ? "sigmoid" : NULL});
        assert_ok(mglu_file_open(scratch("out.gguf"), 0, &file));
        for (size_t i = 0; i < COUNT(layers); i++) {
            assert_ok(mglu_file_layer(file, layers[i].prefix, &weights, &desc, NULL));
            assert_int_equal(desc.activation, given ? layers[i].given : layers[i].named);
        }
        assert_string_equal(mglu_file_metadata(file, "general.architecture"), "mglu");
        assert_string_equal(mglu_file_metadata(file, "mglu.version"), "1");
        assert_null(mglu_file_metadata(file, "note"));
        mglu_file_close(&file);
    }
}

static void a_file_that_is_written_again_is_the_same(void **state)
{
    const mglu_file_pack_options options = {.struct_size = sizeof options, .format = MGLU_FILE_FORMAT_GGUF};
    unsigned char *first, *second;
    size_t first_size, second_size;

    write_checkpoint();
    pack_both((mglu_file_pack_options){.convert = 1, .dtype = MGLU_DTYPE_Q4_0});
    assert_ok(mglu_file_pack(scratch("out.gguf"), scratch("again"), &options));
    first = read_bytes(scratch("out.gguf"), &first_size);
    second = read_bytes(scratch("again"), &second_size);
    assert_int_equal(first_size, second_size);
    assert_memory_equal(first, second, first_size);
    free(first);
    free(second);
}

static const float infinite_row[32] = {[5] = __builtin_inff()}, nan_row[32] = {[5] = __builtin_nanf("")};

static char long_name[280], long_mask[280];
static const struct {
    const char *name, *shape, *mask_name;
    const void *weights, *masks;
    size_t elements;
    mglu_file_pack_options options;
    mglu_status status;
    const char *says;
} not_written[] = {
    {"p.weight", "1, 32", "p.mask", infinite_row, floats, 32, {0}, MGLU_ERROR_NONFINITE, "layer 'p', blk.0.ffn_mglu"},
    {"p.weight", "1, 32", "p.mask", floats, nan_row, 32, {0}, MGLU_ERROR_NONFINITE, "tensor 'p.mask': mask 0 [0][5]"},
    {"p.weight",
     "1, 33",
     "p.mask",
     floats,
     floats,
     33,
     {.convert = 1, .dtype = MGLU_DTYPE_Q8_0},
     MGLU_ERROR_INVALID_ARGUMENT,
     "a multiple of 32 columns"},
    {"p.weight", "0, 32", "p.mask", floats, floats, 0, {0}, MGLU_ERROR_INVALID_ARGUMENT, "without elements"},
    {"p.weight", "1, 32", "q.mask", floats, floats, 32, {0}, MGLU_ERROR_INVALID_ARGUMENT, "no layers to write"},
    {"p.weight",
     "1, 32",
     "p.mask",
     floats,
     floats,
     32,
     {.convert = 1, .dtype = MGLU_DTYPE_COUNT},
     MGLU_ERROR_INVALID_ARGUMENT,
     "unknown dtype"},
    {long_name, "1, 32", long_mask, floats, floats, 32, {0}, MGLU_ERROR_INVALID_ARGUMENT, "too long for GGUF"},
};

static void what_cannot_be_written_is_refused_and_leaves_the_older_file(void **state)
{
    snprintf(long_name, sizeof long_name, "%0256d.weight", 0);
    snprintf(long_mask, sizeof long_mask, "%0256d.mask", 0);
    for (size_t i = 0; i < COUNT(not_written); i++) {
        const struct part parts[] = {
            {not_written[i].name, "F32", not_written[i].shape, not_written[i].weights, 4 * not_written[i].elements},
            {not_written[i].mask_name, "F32", not_written[i].shape, not_written[i].masks, 4 * not_written[i].elements},
        };
        mglu_file_pack_options options = not_written[i].options;
        unsigned char *bytes;
        size_t size;

        options.struct_size = sizeof options;
        options.format = MGLU_FILE_FORMAT_GGUF;
        write_parts(scratch("in"), NULL, parts, COUNT(parts));
        write_bytes(scratch("out.gguf"), "older", 5);
        assert_status(mglu_file_pack(scratch("in"), scratch("out.gguf"), &options), not_written[i].status);
        assert_error_says(not_written[i].says);
        bytes = read_bytes(scratch("out.gguf"), &size);
        assert_int_equal(size, 5);
        free(bytes);
        assert_int_equal(scratch_count(), 2);
    }
}

static void a_bias_that_is_not_finite_is_refused(void **state)
{
    static const struct part parts[] = {
        MATRIX("p.weight", "1, 32", 32),
        {"p.mask", "U8", "1, 32", bits, 32},
        {"p.gate_bias", "F32", "1", nan_row + 5, 4},
    };
    const mglu_file_pack_options options = {.struct_size = sizeof options, .format = MGLU_FILE_FORMAT_GGUF};

    write_parts(scratch("in"), NULL, parts, COUNT(parts));
    assert_status(mglu_file_pack(scratch("in"), scratch("out.gguf"), &options), MGLU_ERROR_NONFINITE);
    assert_error_says("layer 'p', blk.0.ffn_mglu.gate_bias: element 0 is not finite");
}

static int stop(void *user, size_t done, size_t total)
{
    size_t *calls = user;

    assert_in_range(done, 1, total - 1);
    return ++*calls == 3;
}

static void progress_can_cancel(void **state)
{
    size_t calls = 0;
    mglu_file_pack_options options = {.struct_size = sizeof options, .format = MGLU_FILE_FORMAT_GGUF};

    write_checkpoint();
    options.progress = stop;
    options.user = &calls;
    assert_status(mglu_file_pack(scratch("in"), scratch("out.gguf"), &options), MGLU_ERROR_CANCELLED);
    assert_int_equal(calls, 3);
    assert_int_equal(scratch_count(), 1);
}

static void an_unknown_format_is_refused(void **state)
{
    mglu_file_pack_options options = {.struct_size = sizeof options};

    write_checkpoint();
    options.format = (mglu_file_format)2;
    assert_status(mglu_file_pack(scratch("in"), scratch("out"), &options), MGLU_ERROR_INVALID_ARGUMENT);
    assert_error_says("unknown format 2");
}

static int make_input(void **state)
{
    fill();
    return make_scratch(state);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_input, remove_scratch)
    const struct CMUnitTest tests[] = {
        TEST(the_layers_are_those_of_the_safetensors_file),
        TEST(a_large_matrix_is_written_in_full),
        TEST(activations_and_names_are_kept),
        TEST(a_file_that_is_written_again_is_the_same),
        TEST(what_cannot_be_written_is_refused_and_leaves_the_older_file),
        TEST(a_bias_that_is_not_finite_is_refused),
        TEST(progress_can_cancel),
        TEST(an_unknown_format_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
