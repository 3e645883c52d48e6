/* SPDX-License-Identifier: MIT */
#include "tests/unit/io/layer_parts.h"

#include <math.h>

#include <mglu/pack.h>

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
        mglu_file *file = open_parts(0, NULL, parts);
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
    mglu_file *file = open_parts(0, NULL, parts);
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
    mglu_file *file = open_parts(0, NULL, parts);
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
    mglu_file *file = open_parts(0, NULL, parts);
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
    mglu_file *file = open_parts(0, NULL, parts);
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
    mglu_file *file = open_parts(0, NULL, parts);
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
    mglu_file *file = open_parts(0, NULL, projection);

    assert_string_equal(mglu_file_layer_at(file, 0), "");
    assert_ok(mglu_file_layer(file, "", &weights, &layer, NULL));
    assert_int_equal(weights.kind, MGLU_KIND_MASKED);
    mglu_file_close(&file);
    file = open_parts(0, NULL, block);
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
        mglu_file *file = open_parts(0, cases[i].metadata, parts);
        mglu_weights_desc weights = {.struct_size = sizeof weights};
        mglu_layer_desc layer = {.struct_size = sizeof layer};
        int has_activation;

        assert_ok(mglu_file_layer(file, cases[i].prefix, &weights, &layer, &has_activation));
        assert_int_equal(has_activation, cases[i].has_activation);
        assert_int_equal(layer.activation, cases[i].activation);
        mglu_file_close(&file);
    }
}

/* What a caller compiled with an older or a newer version gives. */
static void only_what_the_callers_structs_have_is_written(void **state)
{
    static const struct part parts[MOST_PARTS] = {WEIGHT("P.weight"), MASK("P.mask")};
    mglu_file *file = open_parts(0, NULL, parts);
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

static void layers_without_rows_or_columns_are_layers(void **state)
{
    static const struct part cases[][MOST_PARTS] = {
        {{"P.weight", "F16", "0, 3", NULL, 0}, {"P.mask_bits", "I32", "0, 1, 2", NULL, 0}},
        {{"P.weight", "F16", "3, 0", NULL, 0}, {"P.mask_bits", "I32", "3, 0, 2", NULL, 0}},
        {{"P.weight", "F16", "3, 0", NULL, 0}, {"P.mask", "F32", "2, 3, 0", NULL, 0}},
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        mglu_file *file = open_parts(0, NULL, cases[i]);
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
        TEST(only_what_the_callers_structs_have_is_written),
        TEST(layers_without_rows_or_columns_are_layers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
