/* SPDX-License-Identifier: MIT */
#include "tests/unit/io/layer_parts.h"

/* Layers that mglu_file_layer() refuses, by the name of the tensor. */

/* Layers with one error each, and its message. */
static const uint32_t padded_words[4] = {7, 7, 7, 8};
static const struct {
    const char *prefix;
    struct part parts[MOST_PARTS];
    const char *says;
} no_right_layers[] = {
    {"P", {WEIGHT("P.weight")}, "'P.weight' has no masks: '.mask_bits' or '.mask' is missing"},
    {"P",
     {QUANTS, MASK("P.mask")},
     "tensor 'P.weight': dtype I8, expected F32, F16, BF16 or F64, or I8 or U8 with a '.weight_scale' beside it"},
    {"P",
     {WEIGHT("P.weight"), MASK("P.mask"), SCALES("2, 1")},
     "tensor 'P.weight_scale': its weights are F16, expected I8 or U8"},
    {"P",
     {QUANTS, MASK("P.mask"), {"P.weight_scale", "BF16", "2, 1", NULL, 4}},
     "tensor 'P.weight_scale': dtype BF16, expected F16"},
    {"P", {QUANTS, MASK("P.mask"), SCALES("1, 2")}, "tensor 'P.weight_scale': shape [1, 2], expected [2, 1]"},
    {"P", {QUANTS, MASK("P.mask"), SCALES("2")}, "tensor 'P.weight_scale': shape [2], expected [2, 1]"},
    {"P",
     {{"P.weight", "U8", "2, 8", NULL, 16}, {"P.mask", "U8", "2, 16", NULL, 32}, SCALES("2, 1")},
     "tensor 'P.weight': shape [2, 8], expected rows of whole groups of 16 bytes"},
    {"P",
     {{"P.weight", "U8", "0, 8388624", NULL, 0}, MASK("P.mask"), {"P.weight_scale", "F16", "0, 1", NULL, 0}},
     "expected sizes of at most 8388608"},
    {"m",
     {WEIGHT("m.up_proj.weight"),
      MASK("m.up_proj.mask"),
      {"m.down_proj.weight", "I8", "4, 2", NULL, 8},
      {"m.down_proj.weight_scale", "F16", "4, 1", NULL, 8}},
     "tensor 'm.down_proj.weight': q8_0, but the layer's first matrix is f16"},
    {"m",
     {WEIGHT("m.gate_proj.weight"),
      {"m.up_proj.weight", "U8", "2, 16", NULL, 32},
      {"m.up_proj.weight_scale", "F16", "2, 1", NULL, 4}},
     "tensor 'm.up_proj.weight': shape [2, 16], expected [any, 1]"},
    {"m",
     {{"m.up_proj.weight", "U8", "40, 16", NULL, 640},
      {"m.up_proj.weight_scale", "F16", "40, 1", NULL, 80},
      {"m.up_proj.mask", "U8", "40, 32", NULL, 1280},
      {"m.down_proj.weight", "U8", "1, 20", NULL, 20},
      {"m.down_proj.weight_scale", "F16", "1, 2", NULL, 4}},
     "tensor 'm.down_proj.weight': shape [1, 20], expected rows of whole groups of 16 bytes"},
    {"P",
     {{"P.weight", "F8_E4M3", "2, 3", NULL, 6}, MASK("P.mask")},
     "tensor 'P.weight': dtype F8_E4M3, expected F32, F16, BF16 or F64"},
    {"P", {{"P.weight", "I8", "2, 3", NULL, 6}, MASK("P.mask")}, "tensor 'P.weight': dtype I8, expected F32"},
    {"P", {{"P.weight", "F16", "6", NULL, 12}, MASK("P.mask")}, "tensor 'P.weight': shape [6], expected two"},
    {"P", {{"P.weight", "F16", "1, 2, 3", NULL, 12}, MASK("P.mask")}, "tensor 'P.weight': shape [1, 2, 3]"},
    {"P", {{"P.weight", "F16", "0, 16777217", NULL, 0}, MASK("P.mask")}, "expected sizes of at most 16777216"},
    {"P",
     {WEIGHT("P.weight"), MASK("P.mask"), MASK_BITS("P.mask_bits")},
     "tensor 'P.mask_bits': the file also has these masks unpacked"},
    {"P",
     {WEIGHT("P.weight"), {"P.mask", "C64", "2, 3", NULL, 48}},
     "tensor 'P.mask': dtype C64, expected F32, F16, BF16 or F64 logits, BOOL, or integers of 0 and 1"},
    {"P",
     {WEIGHT("P.weight"), {"P.mask", "U8", "3, 2", NULL, 6}},
     "tensor 'P.mask': shape [3, 2], expected [masks, 2, 3] or [2, 3]"},
    {"P", {WEIGHT("P.weight"), {"P.mask", "U8", "2, 2, 4", NULL, 16}}, "tensor 'P.mask': shape [2, 2, 4]"},
    {"P", {WEIGHT("P.weight"), {"P.mask", "U8", "1, 2, 2, 3", NULL, 12}}, "tensor 'P.mask': shape [1, 2, 2, 3]"},
    {"P", {WEIGHT("P.weight"), {"P.mask", "U8", "", NULL, 1}}, "tensor 'P.mask': shape []"},
    {"P", {WEIGHT("P.weight"), {"P.mask", "U8", "0, 2, 3", NULL, 0}}, "tensor 'P.mask': 0 masks, expected 1 to 16"},
    {"P", {WEIGHT("P.weight"), {"P.mask", "U8", "17, 2, 3", NULL, 102}}, "tensor 'P.mask': 17 masks"},
    {"P",
     {WEIGHT("P.weight"), {"P.mask_bits", "U8", "2, 1, 2", NULL, 4}},
     "tensor 'P.mask_bits': dtype U8, expected I32 or U32"},
    {"P",
     {WEIGHT("P.weight"), {"P.mask_bits", "I32", "2, 2, 1", NULL, 16}},
     "tensor 'P.mask_bits': shape [2, 2, 1], expected [2, 1, masks]"},
    {"P", {WEIGHT("P.weight"), {"P.mask_bits", "I32", "1, 1, 2", NULL, 8}}, "'P.mask_bits': shape [1, 1, 2]"},
    {"P", {WEIGHT("P.weight"), {"P.mask_bits", "I32", "2, 2", NULL, 16}}, "'P.mask_bits': shape [2, 2]"},
    {"P", {WEIGHT("P.weight"), {"P.mask_bits", "I32", "2, 1, 0", NULL, 0}}, "tensor 'P.mask_bits': 0 masks"},
    {"P", {WEIGHT("P.weight"), {"P.mask_bits", "I32", "2, 1, 17", NULL, 136}}, "tensor 'P.mask_bits': 17 masks"},
    {"P",
     {WEIGHT("P.weight"), {"P.mask_bits", "I32", "2, 1, 2", padded_words, 16}},
     "tensor 'P.mask_bits': word [1, 0, 1] has a padding bit set"},
    {"P",
     {WEIGHT("P.weight"), MASK("P.mask"), {"P.gate_bias", "F32", "2", NULL, 8}},
     "tensor 'P.gate_bias': shape [2], expected [2, 2]"},
    {"P",
     {WEIGHT("P.weight"), MASK("P.mask"), {"P.value_bias", "F32", "2, 3", NULL, 24}},
     "tensor 'P.value_bias': shape [2, 3], expected [2, 2]"},
    {"P",
     {WEIGHT("P.weight"), MASK("P.mask"), {"P.value_bias", "I32", "2, 2", NULL, 16}},
     "tensor 'P.value_bias': dtype I32"},
    {"P",
     {WEIGHT("P.weight"), MASK("P.mask"), {"P.router.weight", "F32", "3, 2", NULL, 24}},
     "tensor 'P.router.weight': shape [3, 2], expected [2, 3]"},
    {"m",
     {WEIGHT("m.up_proj.weight"), MASK("m.up_proj.mask"), {"m.down_proj.weight", "F16", "2, 3", NULL, 12}},
     "tensor 'm.down_proj.weight': shape [2, 3], expected [any, 2]"},
    {"m",
     {WEIGHT("m.up_proj.weight"), MASK("m.up_proj.mask"), {"m.down_proj.weight", "F16", "0, 2", NULL, 0}},
     "tensor 'm.down_proj.weight': has no rows"},
    {"m",
     {WEIGHT("m.up_proj.weight"), MASK("m.up_proj.mask"), {"m.down_proj.bias", "F16", "2", NULL, 4}},
     "tensor 'm.down_proj.bias': the file has no down_proj.weight"},
    {"m",
     {WEIGHT("m.up_proj.weight"),
      MASK("m.up_proj.mask"),
      {"m.down_proj.weight", "F16", "4, 2", NULL, 16},
      {"m.down_proj.bias", "F16", "2", NULL, 4}},
     "tensor 'm.down_proj.bias': shape [2], expected [4]"},
    {"m",
     {WEIGHT("m.gate_proj.weight"), {"m.up_proj.weight", "F16", "2, 2", NULL, 8}},
     "tensor 'm.up_proj.weight': shape [2, 2], expected [any, 3]"},
    {"m",
     {WEIGHT("m.gate_proj.weight"), {"m.up_proj.weight", "F16", "1, 3", NULL, 6}},
     "tensor 'm.up_proj.weight': has a different number of rows"},
    {"m",
     {WEIGHT("m.gate_proj.weight"), WEIGHT("m.up_proj.weight"), {"m.up_proj.bias", "F16", "3", NULL, 6}},
     "tensor 'm.up_proj.bias': shape [3], expected [2]"},
};

static void an_invalid_layer_is_refused_by_name(void **state)
{
    for (size_t i = 0; i < COUNT(no_right_layers); i++) {
        mglu_file *file = open_parts(0, "{\"mglu.version\":\"1\"}", no_right_layers[i].parts);
        mglu_weights_desc weights = {.struct_size = sizeof weights, .flags = 77};
        mglu_layer_desc layer = {.struct_size = sizeof layer, .flags = 78};

        assert_status(mglu_file_layer(file, no_right_layers[i].prefix, &weights, &layer, NULL),
                      MGLU_ERROR_CORRUPT_FILE);
        assert_error_says("model.st: ");
        assert_error_says(no_right_layers[i].says);
        assert_int_equal(weights.flags, 77);
        assert_int_equal(layer.flags, 78);
        mglu_file_close(&file);
    }
}

static void an_unknown_prefix_is_an_error_that_lists_the_known_ones(void **state)
{
    static const struct part parts[] = {
        WEIGHT("a.weight"), MASK("a.mask"), WEIGHT("b.weight"), MASK("b.mask"),
        WEIGHT("c.weight"), MASK("c.mask"), WEIGHT("d.weight"), MASK("d.mask"),
    };
    static const struct part other[MOST_PARTS] = {WEIGHT("other")};
    mglu_weights_desc weights = {.struct_size = sizeof weights};
    mglu_layer_desc layer = {.struct_size = sizeof layer};
    mglu_file *file;

    write_parts(scratch("model.st"), NULL, parts, COUNT(parts));
    assert_ok(mglu_file_open(scratch("model.st"), 0, &file));
    assert_status(mglu_file_layer(file, "e", &weights, &layer, NULL), MGLU_ERROR_INVALID_ARGUMENT);
    assert_error_says("model.st: no layer 'e'; the file has 'a', 'b', 'c', ...");
    assert_status(mglu_file_layer(file, NULL, &weights, &layer, NULL), MGLU_ERROR_INVALID_ARGUMENT);
    assert_status(mglu_file_layer(NULL, "a", &weights, &layer, NULL), MGLU_ERROR_INVALID_ARGUMENT);
    assert_status(mglu_file_layer(file, "a", NULL, &layer, NULL), MGLU_ERROR_INVALID_ARGUMENT);
    mglu_file_close(&file);
    file = open_parts(0, NULL, other);
    assert_status(mglu_file_layer(file, "e", &weights, &layer, NULL), MGLU_ERROR_INVALID_ARGUMENT);
    assert_error_says("no layer 'e'; the file has none");
    mglu_file_close(&file);
}

static void metadata_that_is_not_understood_is_refused(void **state)
{
    static const struct part words[MOST_PARTS] = {WEIGHT("P.weight"), MASK_BITS("P.mask_bits")};
    static const struct part logits[MOST_PARTS] = {WEIGHT("P.weight"), MASK("P.mask")};
    mglu_weights_desc weights = {.struct_size = sizeof weights};
    mglu_layer_desc layer = {.struct_size = sizeof layer};
    mglu_file *file = open_parts(0, "{\"mglu.version\":\"2\"}", words);

    assert_status(mglu_file_layer(file, "P", &weights, &layer, NULL), MGLU_ERROR_VERSION_MISMATCH);
    assert_error_says("model.st: mglu.version is '2', this library reads version 1");
    mglu_file_close(&file);
    file = open_parts(0, "{\"mglu.version\":\"1\"}", words);
    assert_ok(mglu_file_layer(file, "P", &weights, &layer, NULL));
    mglu_file_close(&file);
    file = open_parts(0, "{\"mglu.activation\":\"swish\"}", logits);
    assert_status(mglu_file_layer(file, "P", &weights, &layer, NULL), MGLU_ERROR_CORRUPT_FILE);
    assert_error_says("model.st: metadata mglu.activation: unknown activation 'swish'; known: silu");
    mglu_file_close(&file);
}

static void padding_bits_are_checked_in_the_last_group_only(void **state)
{
    static const uint32_t words[2][2] = {{0xffffffffu, 0xffu}, {0xffffffffu, 0x1ffu}};
    mglu_weights_desc weights = {.struct_size = sizeof weights};
    mglu_layer_desc layer = {.struct_size = sizeof layer};

    for (size_t i = 0; i < 2; i++) {
        const struct part parts[MOST_PARTS] = {
            {"P.weight", "F16", "1, 40", NULL, 80},
            {"P.mask_bits", "I32", "1, 2, 1", words[i], 8},
        };
        mglu_file *file = open_parts(0, NULL, parts);

        assert_status(mglu_file_layer(file, "P", &weights, &layer, NULL), i ? MGLU_ERROR_CORRUPT_FILE : MGLU_OK);
        mglu_file_close(&file);
    }
    assert_error_says("word [0, 1, 0] has a padding bit set");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_scratch, remove_scratch)
    const struct CMUnitTest tests[] = {
        TEST(an_invalid_layer_is_refused_by_name),
        TEST(an_unknown_prefix_is_an_error_that_lists_the_known_ones),
        TEST(metadata_that_is_not_understood_is_refused),
        TEST(padding_bits_are_checked_in_the_last_group_only),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
