/* SPDX-License-Identifier: MIT */
#include "tests/unit/io/support.h"

#include <math.h>

#include <mglu/pack.h>

#include <stdio.h>

/* Parts common to most cases: a projection P of d = 2, h = 3 with two masks, and the blocks around it. */
#define WEIGHT(name)                                                                                                   \
    {                                                                                                                  \
        name, "F16", "2, 3", NULL, 12                                                                                  \
    }
#define MASK(name)                                                                                                     \
    {                                                                                                                  \
        name, "F32", "2, 2, 3", NULL, 48                                                                               \
    }
#define MASK_BITS(name)                                                                                                \
    {                                                                                                                  \
        name, "I32", "2, 1, 2", NULL, 16                                                                               \
    }

#define QUANTS                                                                                                         \
    {                                                                                                                  \
        "P.weight", "I8", "2, 3", NULL, 6                                                                              \
    }
#define SCALES(shape)                                                                                                  \
    {                                                                                                                  \
        "P.weight_scale", "F16", shape, NULL, 4                                                                        \
    }

enum { MOST_PARTS = 6 };

static size_t count_parts(const struct part *parts)
{
    size_t count = 0;

    while (count < MOST_PARTS && parts[count].name)
        count++;
    return count;
}

static mglu_file *open_parts(const char *metadata, const struct part *parts)
{
    mglu_file *file;

    write_parts(scratch("model.st"), metadata, parts, count_parts(parts));
    assert_ok(mglu_file_open(scratch("model.st"), 0, &file));
    return file;
}

static void every_form_of_masks_is_recognised(void **state)
{
    static const struct {
        struct part mask;
        mglu_mask_form form;
        int32_t n_masks;
    } cases[] = {
        {{"P.mask", "F32", "2, 2, 3", NULL, 48}, MGLU_MASK_LOGITS_F32, 2},
        {{"P.mask", "F16", "2, 2, 3", NULL, 24}, MGLU_MASK_LOGITS_F16, 2},
        {{"P.mask", "BF16", "1, 2, 3", NULL, 12}, MGLU_MASK_LOGITS_BF16, 1},
        {{"P.mask", "BF16", "2, 3", NULL, 12}, MGLU_MASK_LOGITS_BF16, 1},
        {{"P.mask", "BOOL", "16, 2, 3", NULL, 96}, MGLU_MASK_BYTES, 16},
        {{"P.mask", "U8", "2, 3", NULL, 6}, MGLU_MASK_BYTES, 1},
        {{"P.mask_bits", "I32", "2, 1, 2", NULL, 16}, MGLU_MASK_WORDS, 2},
        {{"P.mask_bits", "U32", "2, 1, 16", NULL, 128}, MGLU_MASK_WORDS, 16},
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        const struct part parts[MOST_PARTS] = {WEIGHT("P.weight"), cases[i].mask};
        mglu_file *file = open_parts(NULL, parts);
        mglu_weights_desc weights = {.struct_size = sizeof weights};
        mglu_layer_desc layer = {.struct_size = sizeof layer};

        assert_ok(mglu_file_layer(file, "P", &weights, &layer, NULL));
        assert_int_equal(weights.struct_size, sizeof weights);
        assert_int_equal(weights.kind, MGLU_KIND_MASKED);
        assert_int_equal(weights.dtype, MGLU_DTYPE_F16);
        assert_int_equal(weights.intermediate_size, 2);
        assert_int_equal(weights.hidden_size, 3);
        assert_int_equal(weights.output_size, 0);
        assert_int_equal(weights.n_masks, cases[i].n_masks);
        assert_ptr_equal(weights.weight.data, mglu_file_find(file, "P.weight")->data);
        assert_int_equal(weights.masks.form, cases[i].form);
        assert_ptr_equal(weights.masks.data, mglu_file_find(file, cases[i].mask.name)->data);
        assert_null(weights.gate_bias.data);
        assert_null(weights.router.data);
        assert_null(weights.down.data);
        mglu_file_close(&file);
    }
}

/* Two masks of [2][3]: 101 011 and 010 100, lowest column first. */
static void masks_of_every_form_are_read_as_words(void **state)
{
    static const uint8_t bytes[] = {1, 0, 1, 0, 1, 1, 0, 1, 0, 1, 0, 0};
    static const float floats[] = {1, -1, 2, 0, 3, 1, -1, 1, -2, 1, -0.0f, 0};
    static const uint16_t integers[] = {1, 0, 1, 0, 1, 1, 0, 1, 0, 1, 0, 0};
    static const double doubles[] = {1, -1, 2, 0, 3, 1, -1, 1, -2, 1, -0.0, 0};
    static const uint32_t want[] = {5, 2, 6, 1};
    static const struct part masks[] = {
        {"P.mask", "BOOL", "2, 2, 3", bytes, sizeof bytes},      {"P.mask", "F32", "2, 2, 3", floats, sizeof floats},
        {"P.mask", "U16", "2, 2, 3", integers, sizeof integers}, {"P.mask", "F64", "2, 2, 3", doubles, sizeof doubles},
        {"P.mask_bits", "I32", "2, 1, 2", want, sizeof want},
    };
    uint32_t words[4];

    for (size_t i = 0; i < COUNT(masks); i++)
        for (uint32_t flags = 0; flags <= MGLU_FILE_HEADER; flags += MGLU_FILE_HEADER) {
            const struct part parts[] = {WEIGHT("P.weight"), masks[i]};
            mglu_file *file;

            write_parts(scratch("model.st"), NULL, parts, 2);
            assert_ok(mglu_file_open(scratch("model.st"), flags, &file));
            assert_ok(mglu_file_masks(file, "P", 0, 2, words));
            assert_memory_equal(words, want, sizeof want);
            assert_ok(mglu_file_masks(file, "P", 1, 1, words));
            assert_memory_equal(words, want + 2, sizeof want / 2);
            assert_ok(mglu_file_masks(file, "P", 2, 0, words));
            assert_status(mglu_file_masks(file, "P", 1, 2, words), MGLU_ERROR_INVALID_ARGUMENT);
            assert_error_says("layer 'P': 2 rows from row 1 on are to be read, it has 2");
            assert_status(mglu_file_masks(file, "Q", 0, 1, words), MGLU_ERROR_INVALID_ARGUMENT);
            mglu_file_close(&file);
        }
}

static void what_is_no_mask_is_not_read_as_words(void **state)
{
    static const uint8_t two[12] = {[10] = 2};
    static const float nan_logit[12] = {[4] = NAN};
    static const uint32_t padding[4] = {[3] = 8};
    static const struct {
        struct part mask;
        mglu_status status;
        const char *says;
    } cases[] = {
        {{"P.mask", "U8", "2, 2, 3", two, 12}, MGLU_ERROR_CORRUPT_FILE, "'P.mask': mask 1 [1][1] is neither 0 nor 1"},
        {{"P.mask", "F32", "2, 2, 3", nan_logit, 48}, MGLU_ERROR_NONFINITE, "'P.mask': mask 0 [1][1] is NaN"},
        {{"P.mask_bits", "I32", "2, 1, 2", padding, 16}, MGLU_ERROR_CORRUPT_FILE, "'P.mask_bits': counting from row 1"},
    };
    uint32_t words[4];

    for (size_t i = 0; i < COUNT(cases); i++) {
        const struct part parts[] = {WEIGHT("P.weight"), cases[i].mask};
        mglu_file *file;

        write_parts(scratch("model.st"), NULL, parts, 2);
        assert_ok(mglu_file_open(scratch("model.st"), MGLU_FILE_HEADER, &file));
        assert_status(mglu_file_masks(file, "P", 1, 1, words), cases[i].status);
        assert_error_says(cases[i].says);
        mglu_file_close(&file);
    }
}

static void a_plain_layer_has_no_masks_to_read(void **state)
{
    static const struct part parts[MOST_PARTS] = {WEIGHT("gate_proj.weight"), WEIGHT("up_proj.weight")};
    mglu_file *file = open_parts(NULL, parts);
    uint32_t word;

    assert_status(mglu_file_masks(file, "", 0, 1, &word), MGLU_ERROR_INVALID_ARGUMENT);
    assert_error_says("layer '' has no masks");
    assert_status(mglu_file_masks(file, "", 0, 1, NULL), MGLU_ERROR_INVALID_ARGUMENT);
    mglu_file_close(&file);
}

static void a_projection_includes_its_biases_and_router(void **state)
{
    static const struct part parts[MOST_PARTS] = {
        WEIGHT("P.weight"),
        MASK("P.mask"),
        {"P.gate_bias", "F32", "2, 2", NULL, 16},
        {"P.value_bias", "BF16", "2, 2", NULL, 8},
        {"P.router.weight", "F16", "2, 3", NULL, 12},
    };
    mglu_file *file = open_parts(NULL, parts);
    mglu_weights_desc weights = {.struct_size = sizeof weights};
    mglu_layer_desc layer = {.struct_size = sizeof layer};

    assert_ok(mglu_file_layer(file, "P", &weights, &layer, NULL));
    assert_ptr_equal(weights.gate_bias.data, mglu_file_find(file, "P.gate_bias")->data);
    assert_int_equal(weights.gate_bias.dtype, MGLU_DTYPE_F32);
    assert_ptr_equal(weights.value_bias.data, mglu_file_find(file, "P.value_bias")->data);
    assert_int_equal(weights.value_bias.dtype, MGLU_DTYPE_BF16);
    assert_ptr_equal(weights.router.data, mglu_file_find(file, "P.router.weight")->data);
    assert_int_equal(layer.struct_size, sizeof layer);
    assert_int_equal(layer.max_batch, 1);
    assert_int_equal(layer.top_k, 0);
    mglu_file_close(&file);
}

static void a_block_is_its_up_projection_and_down_projection(void **state)
{
    static const struct part parts[MOST_PARTS] = {
        WEIGHT("m.up_proj.weight"),
        MASK_BITS("m.up_proj.mask_bits"),
        {"m.down_proj.weight", "F32", "5, 2", NULL, 40},
        {"m.down_proj.bias", "F16", "5", NULL, 10},
    };
    mglu_file *file = open_parts(NULL, parts);
    mglu_weights_desc weights = {.struct_size = sizeof weights};
    mglu_layer_desc layer = {.struct_size = sizeof layer};

    assert_ok(mglu_file_layer(file, "m", &weights, &layer, NULL));
    assert_int_equal(weights.n_masks, 2);
    assert_int_equal(weights.output_size, 5);
    assert_ptr_equal(weights.down.data, mglu_file_find(file, "m.down_proj.weight")->data);
    assert_int_equal(weights.down.dtype, MGLU_DTYPE_F32);
    assert_ptr_equal(weights.down_bias.data, mglu_file_find(file, "m.down_proj.bias")->data);
    assert_ok(mglu_file_layer(file, "m.up_proj", &weights, &layer, NULL));
    assert_int_equal(weights.output_size, 0);
    assert_null(weights.down.data);
    mglu_file_close(&file);
}

static void a_block_without_masks_is_a_plain_glu(void **state)
{
    static const struct part parts[MOST_PARTS] = {
        WEIGHT("m.gate_proj.weight"),
        {"m.up_proj.weight", "BF16", "2, 3", NULL, 12},
        {"m.gate_proj.bias", "F32", "2", NULL, 8},
        {"m.up_proj.bias", "F32", "1, 2", NULL, 8},
        {"m.down_proj.weight", "F16", "3, 2", NULL, 12},
    };
    mglu_file *file = open_parts(NULL, parts);
    mglu_weights_desc weights = {.struct_size = sizeof weights};
    mglu_layer_desc layer = {.struct_size = sizeof layer};

    assert_ok(mglu_file_layer(file, "m", &weights, &layer, NULL));
    assert_int_equal(weights.kind, MGLU_KIND_PLAIN);
    assert_int_equal(weights.n_masks, 0);
    assert_null(weights.masks.data);
    assert_ptr_equal(weights.weight.data, mglu_file_find(file, "m.gate_proj.weight")->data);
    assert_ptr_equal(weights.value_weight.data, mglu_file_find(file, "m.up_proj.weight")->data);
    assert_int_equal(weights.value_weight.dtype, MGLU_DTYPE_BF16);
    assert_ptr_equal(weights.gate_bias.data, mglu_file_find(file, "m.gate_proj.bias")->data);
    assert_ptr_equal(weights.value_bias.data, mglu_file_find(file, "m.up_proj.bias")->data);
    assert_int_equal(weights.output_size, 3);
    mglu_file_close(&file);
}

static void quantised_matrices_are_returned_without_conversion(void **state)
{
    static const struct part parts[] = {
        {"p.up_proj.weight", "I8", "32, 35", NULL, 1120},      {"p.up_proj.weight_scale", "F16", "32, 2", NULL, 128},
        {"p.up_proj.mask_bits", "I32", "32, 2, 1", NULL, 256}, {"p.down_proj.weight", "F32", "1, 32", NULL, 128},
        {"q.gate_proj.weight", "U8", "32, 32", NULL, 1024},    {"q.gate_proj.weight_scale", "F16", "32, 2", NULL, 128},
        {"q.up_proj.weight", "U8", "32, 32", NULL, 1024},      {"q.up_proj.weight_scale", "F16", "32, 2", NULL, 128},
        {"q.down_proj.weight", "U8", "1, 16", NULL, 16},       {"q.down_proj.weight_scale", "F16", "1, 1", NULL, 2},
    };
    mglu_weights_desc weights = {.struct_size = sizeof weights};
    mglu_layer_desc layer = {.struct_size = sizeof layer};
    mglu_file *file;

    write_parts(scratch("model.st"), "{\"mglu.version\":\"1\"}", parts, COUNT(parts));
    assert_ok(mglu_file_open(scratch("model.st"), 0, &file));
    assert_ok(mglu_file_layer(file, "p", &weights, &layer, NULL));
    assert_int_equal(weights.dtype, MGLU_DTYPE_Q8_0);
    assert_int_equal(weights.hidden_size, 35);
    assert_ptr_equal(weights.weight.data, mglu_file_find(file, "p.up_proj.weight")->data);
    assert_ptr_equal(weights.weight.scales, mglu_file_find(file, "p.up_proj.weight_scale")->data);
    assert_int_equal(weights.down.dtype, MGLU_DTYPE_F32);
    assert_null(weights.down.scales);
    assert_ok(mglu_file_layer(file, "q", &weights, &layer, NULL));
    assert_int_equal(weights.dtype, MGLU_DTYPE_Q4_0);
    assert_int_equal(weights.hidden_size, 64);
    assert_int_equal(weights.value_weight.dtype, MGLU_DTYPE_Q4_0);
    assert_ptr_equal(weights.value_weight.scales, mglu_file_find(file, "q.up_proj.weight_scale")->data);
    assert_int_equal(weights.down.dtype, MGLU_DTYPE_Q4_0);
    assert_ptr_equal(weights.down.data, mglu_file_find(file, "q.down_proj.weight")->data);
    assert_ptr_equal(weights.down.scales, mglu_file_find(file, "q.down_proj.weight_scale")->data);
    mglu_file_close(&file);
}

static void a_scale_that_is_not_finite_is_refused_by_name(void **state)
{
    static const uint16_t scales[2] = {0x3c00, 0xfc00};
    static const struct part parts[MOST_PARTS] = {
        QUANTS, MASK("P.mask"), {"P.weight_scale", "F16", "2, 1", scales, sizeof scales}};
    mglu_file *file = open_parts(NULL, parts);
    mglu_weights_desc weights = {.struct_size = sizeof weights};
    mglu_layer_desc layer = {.struct_size = sizeof layer};

    assert_status(mglu_file_layer(file, "P", &weights, &layer, NULL), MGLU_ERROR_NONFINITE);
    assert_error_says("model.st: tensor 'P.weight_scale': element [1, 0] is not finite");
    mglu_file_close(&file);
}

/* A module saved by itself has no prefix: its tensors are "weight" and "mask", or "up_proj.weight" and so on. */
static void the_empty_prefix_is_a_layer_too(void **state)
{
    static const struct part projection[MOST_PARTS] = {WEIGHT("weight"), MASK("mask")};
    static const struct part block[MOST_PARTS] = {WEIGHT("gate_proj.weight"), WEIGHT("up_proj.weight")};
    mglu_weights_desc weights = {.struct_size = sizeof weights};
    mglu_layer_desc layer = {.struct_size = sizeof layer};
    mglu_file *file = open_parts(NULL, projection);

    assert_string_equal(mglu_file_layer_at(file, 0), "");
    assert_ok(mglu_file_layer(file, "", &weights, &layer, NULL));
    assert_int_equal(weights.kind, MGLU_KIND_MASKED);
    mglu_file_close(&file);
    file = open_parts(NULL, block);
    assert_string_equal(mglu_file_layer_at(file, 0), "");
    assert_ok(mglu_file_layer(file, "", &weights, &layer, NULL));
    assert_int_equal(weights.kind, MGLU_KIND_PLAIN);
    mglu_file_close(&file);
}

static void layers_are_listed_masked_ones_first(void **state)
{
    static const struct part parts[] = {
        WEIGHT("p.gate_proj.weight"),   WEIGHT("p.up_proj.weight"),   WEIGHT("m.10.up_proj.weight"),
        MASK("m.10.up_proj.mask"),      WEIGHT("m.9.up_proj.weight"), MASK_BITS("m.9.up_proj.mask_bits"),
        WEIGHT("m.9.down_proj.weight"), WEIGHT("alone.weight"),       MASK("lonely.mask"),
        WEIGHT("x.gate_proj.weight"),   WEIGHT("y.up_proj.weight"),   WEIGHT("notweight"),
    };
    static const char *const expected[] = {"m.10.up_proj", "m.9.up_proj", "p"};
    mglu_file *file;

    write_parts(scratch("model.st"), NULL, parts, COUNT(parts));
    assert_ok(mglu_file_open(scratch("model.st"), 0, &file));
    for (size_t i = 0; i < COUNT(expected); i++)
        assert_string_equal(mglu_file_layer_at(file, i), expected[i]);
    assert_null(mglu_file_layer_at(file, COUNT(expected)));
    mglu_file_close(&file);
}

static void the_nearest_activation_wins(void **state)
{
    static const struct {
        const char *metadata;
        const char *prefix;
        int has_activation;
        mglu_activation activation;
    } cases[] = {
        {NULL, "m", 0, MGLU_ACTIVATION_SILU},
        {"{\"mglu.activation.other\":\"relu\"}", "m", 0, MGLU_ACTIVATION_SILU},
        {"{\"mglu.activation\":\"relu\"}", "m", 1, MGLU_ACTIVATION_RELU},
        {"{\"mglu.activation\":\"relu\"}", "m.up_proj", 1, MGLU_ACTIVATION_RELU},
        {"{\"mglu.activation\":\"relu\",\"mglu.activation.m\":\"sigmoid\"}", "m", 1, MGLU_ACTIVATION_SIGMOID},
        {"{\"mglu.activation\":\"relu\",\"mglu.activation.m\":\"sigmoid\"}", "m.up_proj", 1, MGLU_ACTIVATION_RELU},
        {"{\"mglu.activation.m\":\"relu\",\"mglu.activation.m.up_proj\":\"identity\"}", "m", 1,
         MGLU_ACTIVATION_IDENTITY},
        {"{\"mglu.activation\":\"relu\",\"mglu.activation.m.up_proj\":\"gelu_erf\"}", "m.up_proj", 1,
         MGLU_ACTIVATION_GELU_ERF},
    };
    static const struct part parts[MOST_PARTS] = {WEIGHT("m.up_proj.weight"), MASK("m.up_proj.mask")};

    for (size_t i = 0; i < COUNT(cases); i++) {
        mglu_file *file = open_parts(cases[i].metadata, parts);
        mglu_weights_desc weights = {.struct_size = sizeof weights};
        mglu_layer_desc layer = {.struct_size = sizeof layer};
        int has_activation;

        assert_ok(mglu_file_layer(file, cases[i].prefix, &weights, &layer, &has_activation));
        assert_int_equal(has_activation, cases[i].has_activation);
        assert_int_equal(layer.activation, cases[i].activation);
        mglu_file_close(&file);
    }
}

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
        mglu_file *file = open_parts("{\"mglu.version\":\"1\"}", no_right_layers[i].parts);
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
    file = open_parts(NULL, other);
    assert_status(mglu_file_layer(file, "e", &weights, &layer, NULL), MGLU_ERROR_INVALID_ARGUMENT);
    assert_error_says("no layer 'e'; the file has none");
    mglu_file_close(&file);
}

/* What a caller compiled with an older or a newer version gives. */
static void only_what_the_callers_structs_have_is_written(void **state)
{
    static const struct part parts[MOST_PARTS] = {WEIGHT("P.weight"), MASK("P.mask")};
    mglu_file *file = open_parts(NULL, parts);
    struct {
        mglu_weights_desc known;
        uint64_t later;
    } weights = {{.struct_size = sizeof weights}, 5};
    struct {
        mglu_layer_desc known;
        uint64_t later;
    } layer = {{.struct_size = sizeof layer}, 6};

    assert_ok(mglu_file_layer(file, "P", &weights.known, &layer.known, NULL));
    assert_int_equal(weights.known.struct_size, sizeof weights);
    assert_int_equal(layer.known.struct_size, sizeof layer);
    assert_int_equal(weights.known.n_masks, 2);
    assert_int_equal(weights.later, 5);
    assert_int_equal(layer.later, 6);
    weights.known.struct_size = 0;
    assert_status(mglu_file_layer(file, "P", &weights.known, &layer.known, NULL), MGLU_ERROR_INVALID_ARGUMENT);
    assert_error_says("mglu_weights_desc: struct_size is 0");
    weights.known.struct_size = sizeof weights;
    weights.known.n_masks = 9;
    layer.known.struct_size = 3;
    assert_status(mglu_file_layer(file, "P", &weights.known, &layer.known, NULL), MGLU_ERROR_INVALID_ARGUMENT);
    assert_error_says("mglu_layer_desc: struct_size is 3");
    assert_int_equal(weights.known.n_masks, 9);
    mglu_file_close(&file);
}

static void metadata_that_is_not_understood_is_refused(void **state)
{
    static const struct part words[MOST_PARTS] = {WEIGHT("P.weight"), MASK_BITS("P.mask_bits")};
    static const struct part logits[MOST_PARTS] = {WEIGHT("P.weight"), MASK("P.mask")};
    mglu_weights_desc weights = {.struct_size = sizeof weights};
    mglu_layer_desc layer = {.struct_size = sizeof layer};
    mglu_file *file = open_parts("{\"mglu.version\":\"2\"}", words);

    assert_status(mglu_file_layer(file, "P", &weights, &layer, NULL), MGLU_ERROR_VERSION_MISMATCH);
    assert_error_says("model.st: mglu.version is '2', this library reads version 1");
    mglu_file_close(&file);
    file = open_parts("{\"mglu.version\":\"1\"}", words);
    assert_ok(mglu_file_layer(file, "P", &weights, &layer, NULL));
    mglu_file_close(&file);
    file = open_parts("{\"mglu.activation\":\"swish\"}", logits);
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
        mglu_file *file = open_parts(NULL, parts);

        assert_status(mglu_file_layer(file, "P", &weights, &layer, NULL), i ? MGLU_ERROR_CORRUPT_FILE : MGLU_OK);
        mglu_file_close(&file);
    }
    assert_error_says("word [0, 1, 0] has a padding bit set");
}

static void layers_without_rows_or_columns_are_layers(void **state)
{
    static const struct part cases[][MOST_PARTS] = {
        {{"P.weight", "F16", "0, 3", NULL, 0}, {"P.mask_bits", "I32", "0, 1, 2", NULL, 0}},
        {{"P.weight", "F16", "3, 0", NULL, 0}, {"P.mask_bits", "I32", "3, 0, 2", NULL, 0}},
        {{"P.weight", "F16", "3, 0", NULL, 0}, {"P.mask", "F32", "2, 3, 0", NULL, 0}},
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        mglu_file *file = open_parts(NULL, cases[i]);
        mglu_weights_desc weights = {.struct_size = sizeof weights};
        mglu_layer_desc layer = {.struct_size = sizeof layer};

        assert_ok(mglu_file_layer(file, "P", &weights, &layer, NULL));
        assert_int_equal(weights.n_masks, 2);
        assert_int_equal(weights.intermediate_size, i ? 3 : 0);
        assert_int_equal(weights.hidden_size, i ? 0 : 3);
        mglu_file_close(&file);
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_scratch, remove_scratch)
    const struct CMUnitTest tests[] = {
        TEST(every_form_of_masks_is_recognised),
        TEST(masks_of_every_form_are_read_as_words),
        TEST(what_is_no_mask_is_not_read_as_words),
        TEST(a_plain_layer_has_no_masks_to_read),
        TEST(a_projection_includes_its_biases_and_router),
        TEST(a_block_is_its_up_projection_and_down_projection),
        TEST(a_block_without_masks_is_a_plain_glu),
        TEST(quantised_matrices_are_returned_without_conversion),
        TEST(a_scale_that_is_not_finite_is_refused_by_name),
        TEST(the_empty_prefix_is_a_layer_too),
        TEST(layers_are_listed_masked_ones_first),
        TEST(the_nearest_activation_wins),
        TEST(an_invalid_layer_is_refused_by_name),
        TEST(an_unknown_prefix_is_an_error_that_lists_the_known_ones),
        TEST(only_what_the_callers_structs_have_is_written),
        TEST(metadata_that_is_not_understood_is_refused),
        TEST(padding_bits_are_checked_in_the_last_group_only),
        TEST(layers_without_rows_or_columns_are_layers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
