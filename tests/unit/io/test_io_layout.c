/* SPDX-License-Identifier: MIT */
#include "tests/unit/io/support.h"

/* Where the arrays of a layer are in its file. Their values under every name: tests/programs/test_layouts.py. */

/* Two rows of three columns for the gate and as many for the value, in f16. */
static const struct part fused[MOST_PARTS] = {
    {"m.gate_up_proj.weight", "F16", "4, 3", NULL, 24},
    {"m.down_proj.weight", "F16", "3, 2", NULL, 12},
};

static void fused_rows_are_used_in_place(void **state)
{
    static const struct {
        uint32_t flags;
        const char *metadata;
        size_t value_offset, stride_bytes;
    } cases[] = {
        {MGLU_FILE_FUSED_HALVES, NULL, 12, 0},
        {MGLU_FILE_FUSED_INTERLEAVED, NULL, 6, 12},
        {0, "{\"mglu.fused\":\"halves\"}", 12, 0},
        {0, "{\"mglu.fused\":\"interleaved\"}", 6, 12},
        {MGLU_FILE_FUSED_HALVES, "{\"mglu.fused\":\"interleaved\"}", 12, 0}, /* the caller is right */
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        mglu_file *file = open_parts(cases[i].flags, cases[i].metadata, fused);
        const char *data = mglu_file_find(file, "m.gate_up_proj.weight")->data;
        mglu_weights_desc weights = {.struct_size = sizeof weights};
        mglu_layer_desc layer = {.struct_size = sizeof layer};

        assert_ok(mglu_file_layer(file, "m", &weights, &layer, NULL));
        assert_int_equal(weights.intermediate_size, 2);
        assert_int_equal(weights.hidden_size, 3);
        assert_ptr_equal(weights.weight.data, data);
        assert_ptr_equal(weights.value_weight.data, data + cases[i].value_offset);
        assert_int_equal(weights.weight.stride_bytes, cases[i].stride_bytes);
        assert_int_equal(weights.value_weight.stride_bytes, cases[i].stride_bytes);
        mglu_file_close(&file);
    }
}

static void an_order_that_is_not_known_is_refused(void **state)
{
    mglu_file *file = open_parts(0, NULL, fused);
    mglu_weights_desc weights = {.struct_size = sizeof weights};
    mglu_layer_desc layer = {.struct_size = sizeof layer};

    assert_status(mglu_file_layer(file, "m", &weights, &layer, NULL), MGLU_ERROR_INVALID_ARGUMENT);
    assert_error_says("tensor 'm.gate_up_proj.weight': gate and value in one matrix");
    mglu_file_close(&file);
    file = open_parts(0, "{\"mglu.fused\":\"both\"}", fused);
    assert_status(mglu_file_layer(file, "m", &weights, &layer, NULL), MGLU_ERROR_CORRUPT_FILE);
    assert_error_says("mglu.fused is 'both', expected halves or interleaved");
    mglu_file_close(&file);
    /* Without data there is nothing to order: sizes are known. */
    file = open_parts(MGLU_FILE_HEADER, NULL, fused);
    assert_ok(mglu_file_layer(file, "m", &weights, &layer, NULL));
    assert_int_equal(weights.intermediate_size, 2);
    assert_null(weights.weight.data);
    mglu_file_close(&file);
}

static void experts_in_stacks_are_used_in_place(void **state)
{
    static const struct part parts[MOST_PARTS] = {
        {"e.w1.weight", "F16", "3, 2, 4", NULL, 48},
        {"e.w3.weight", "F16", "3, 2, 4", NULL, 48},
        {"e.w2.weight", "F16", "3, 4, 2", NULL, 48},
    };
    static const char *const prefixes[] = {"e.0", "e.1", "e.2"};
    mglu_file *file = open_parts(0, NULL, parts);

    for (size_t i = 0; i < COUNT(prefixes); i++) {
        mglu_weights_desc weights = {.struct_size = sizeof weights};
        mglu_layer_desc layer = {.struct_size = sizeof layer};

        assert_string_equal(mglu_file_layer_at(file, i), prefixes[i]);
        assert_ok(mglu_file_layer(file, prefixes[i], &weights, &layer, NULL));
        assert_ptr_equal(weights.weight.data, (const char *)mglu_file_find(file, "e.w1.weight")->data + 16 * i);
        assert_ptr_equal(weights.value_weight.data, (const char *)mglu_file_find(file, "e.w3.weight")->data + 16 * i);
        assert_ptr_equal(weights.down.data, (const char *)mglu_file_find(file, "e.w2.weight")->data + 16 * i);
        assert_int_equal(weights.output_size, 4);
    }
    assert_null(mglu_file_layer_at(file, COUNT(prefixes)));
    mglu_file_close(&file);
}

static void a_copy_is_made_once(void **state)
{
    static const double numbers[6] = {1, -2, 0.1, 1e-300, 3, 4};
    static const struct part parts[MOST_PARTS] = {
        {"P.weight", "F64", "2, 3", numbers, sizeof numbers},
        {"P.mask", "F64", "2, 3", numbers, sizeof numbers},
    };
    mglu_file *file = open_parts(0, NULL, parts);
    mglu_weights_desc weights = {.struct_size = sizeof weights}, again = weights;
    mglu_layer_desc layer = {.struct_size = sizeof layer};

    assert_ok(mglu_file_layer(file, "P", &weights, &layer, NULL));
    assert_ok(mglu_file_layer(file, "P", &again, &layer, NULL));
    assert_ptr_equal(weights.weight.data, again.weight.data);
    assert_ptr_equal(weights.masks.data, again.masks.data);
    assert_int_equal(weights.dtype, MGLU_DTYPE_F32);
    assert_memory_equal(weights.weight.data, ((const float[]){1, -2, 0.1f, 0, 3, 4}), 24);
    assert_int_equal(weights.masks.form, MGLU_MASK_BYTES);
    assert_memory_equal(weights.masks.data, ((const uint8_t[]){1, 0, 1, 1, 1, 1}), 6);
    mglu_file_close(&file);
}

static void models_have_an_order_or_a_reason(void **state)
{
    uint32_t flags = 7;

    assert_ok(mglu_file_model_flags("phi3", &flags));
    assert_int_equal(flags, MGLU_FILE_FUSED_HALVES);
    assert_ok(mglu_file_model_flags("llama", &flags));
    assert_int_equal(flags, 0);
    assert_status(mglu_file_model_flags("gpt_oss", &flags), MGLU_ERROR_UNSUPPORTED);
    assert_error_says("model_type gpt_oss: its experts clamp");
    assert_status(mglu_file_model_flags(NULL, &flags), MGLU_ERROR_INVALID_ARGUMENT);
    assert_status(mglu_file_model_flags("phi3", NULL), MGLU_ERROR_INVALID_ARGUMENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(fused_rows_are_used_in_place, make_scratch, remove_scratch),
        cmocka_unit_test_setup_teardown(an_order_that_is_not_known_is_refused, make_scratch, remove_scratch),
        cmocka_unit_test_setup_teardown(experts_in_stacks_are_used_in_place, make_scratch, remove_scratch),
        cmocka_unit_test_setup_teardown(a_copy_is_made_once, make_scratch, remove_scratch),
        cmocka_unit_test(models_have_an_order_or_a_reason),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
