/* SPDX-License-Identifier: MIT */
#include "tests/unit/io/support.h"

#include <mglu/pack.h>
#include <mglu/version.h>

#include <math.h>
#include <stdio.h>

static mglu_file *open_ok(const char *path)
{
    mglu_file *file;

    assert_ok(mglu_file_open(path, 0, &file));
    return file;
}

static int ends_with(const char *text, const char *end)
{
    return strlen(text) >= strlen(end) && strcmp(text + strlen(text) - strlen(end), end) == 0;
}

/* Bit [mask][row][column] as defined in docs/format.md. */
static int bit_of(const mglu_file_tensor *words, int64_t mask, int64_t row, int64_t column)
{
    int64_t index = (row * words->shape[1] + column / 32) * words->shape[2] + mask;
    uint32_t word;

    memcpy(&word, (const unsigned char *)words->data + 4 * index, sizeof word);
    return word >> column % 32 & 1;
}

static void assert_bits_are_positive_logits(const mglu_file_tensor *words, const mglu_file_tensor *logits)
{
    const uint16_t *halves = logits->data;

    assert_int_equal(logits->dtype, MGLU_FILE_F16);
    for (int64_t i = 0; i < logits->shape[0]; i++)
        for (int64_t r = 0; r < logits->shape[1]; r++)
            for (int64_t c = 0; c < logits->shape[2]; c++, halves++)
                if (bit_of(words, i, r, c) != (*halves > 0 && *halves < 0x8000))
                    fail_msg("%s[%d][%d][%d]", words->name, (int)i, (int)r, (int)c);
}

static void a_real_model_keeps_every_bit_and_every_other_tensor(void **state)
{
    mglu_file *model, *packed;
    size_t masks = 0;

    assert_ok(mglu_file_pack(test_data("licence-lm/model.safetensors"), scratch("packed"), NULL));
    model = open_ok(test_data("licence-lm/model.safetensors"));
    packed = open_ok(scratch("packed"));
    assert_int_equal(mglu_file_tensor_count(packed), mglu_file_tensor_count(model));
    for (size_t i = 0; i < mglu_file_tensor_count(model); i++) {
        const mglu_file_tensor *tensor = mglu_file_tensor_at(model, i), *found;
        char name[200];

        snprintf(name, sizeof name, "%s%s", tensor->name, ends_with(tensor->name, ".mask") ? "_bits" : "");
        found = mglu_file_find(packed, name);
        assert_non_null(found);
        if (ends_with(name, "_bits")) {
            masks++;
            assert_int_equal(found->dtype, MGLU_FILE_I32);
            assert_int_equal(found->rank, 3);
            assert_int_equal(found->bytes, mglu_packed_mask_size(4, 512, 128));
            assert_bits_are_positive_logits(found, tensor);
            continue;
        }
        assert_int_equal(found->dtype, tensor->dtype);
        assert_int_equal(found->rank, tensor->rank);
        assert_memory_equal(found->shape, tensor->shape, (size_t)tensor->rank * sizeof tensor->shape[0]);
        assert_int_equal(found->bytes, tensor->bytes);
        assert_memory_equal(found->data, tensor->data, tensor->bytes);
    }
    assert_int_equal(masks, 4);
    mglu_file_close(&packed);
    mglu_file_close(&model);
}

/* Logits around zero, with both zeros, in every form of masks in checkpoints: 1 where the logit is > 0. */
static void masks_of_every_form_are_thresholded_at_zero(void **state)
{
    static const float f32[6] = {1.0f, -1.0f, 0.0f, -0.0f, 1e-40f, -1e-40f};
    static const uint16_t f16[6] = {0x3c00, 0xbc00, 0x0000, 0x8000, 0x0001, 0x8001};
    static const uint8_t bytes[6] = {1, 0, 0, 0, 1, 0};
    static const struct part masks[] = {
        {"P.mask", "F32", "2, 1, 3", f32, sizeof f32},    {"P.mask", "F16", "2, 1, 3", f16, sizeof f16},
        {"P.mask", "BF16", "2, 1, 3", f16, sizeof f16},   {"P.mask", "BOOL", "2, 1, 3", bytes, sizeof bytes},
        {"P.mask", "U8", "2, 1, 3", bytes, sizeof bytes},
    };

    for (size_t i = 0; i < COUNT(masks); i++) {
        const struct part parts[MOST_PARTS] = {{"P.weight", "F32", "1, 3", NULL, 12}, masks[i]};
        const uint32_t expected[2] = {1, 2};
        const mglu_file_tensor *words;
        mglu_file *packed;

        write_some(scratch("in"), NULL, parts);
        assert_ok(mglu_file_pack(scratch("in"), scratch("out"), NULL));
        packed = open_ok(scratch("out"));
        words = mglu_file_find(packed, "P.mask_bits");
        assert_non_null(words);
        assert_int_equal(words->shape[0], 1);
        assert_int_equal(words->shape[1], 1);
        assert_int_equal(words->shape[2], 2);
        assert_memory_equal(words->data, expected, sizeof expected);
        assert_null(mglu_file_find(packed, "P.mask"));
        mglu_file_close(&packed);
    }
}

static void one_mask_needs_no_mask_dimension(void **state)
{
    static const uint8_t mask[4] = {0, 1, 1, 0};
    static const struct part parts[MOST_PARTS] = {
        {"P.weight", "F32", "2, 2", NULL, 16},
        {"P.mask", "U8", "2, 2", mask, 4},
    };
    const uint32_t expected[2] = {2, 1};
    mglu_file *packed;

    write_some(scratch("in"), NULL, parts);
    assert_ok(mglu_file_pack(scratch("in"), scratch("out"), NULL));
    packed = open_ok(scratch("out"));
    assert_int_equal(mglu_file_find(packed, "P.mask_bits")->shape[2], 1);
    assert_memory_equal(mglu_file_find(packed, "P.mask_bits")->data, expected, sizeof expected);
    mglu_file_close(&packed);
}

static void metadata_is_kept_and_completed(void **state)
{
    const mglu_file_pack_options options = {.struct_size = sizeof options, .activation = "gelu_tanh"};
    char producer[64];
    mglu_file *packed;

    snprintf(producer, sizeof producer, "mglu %s", mglu_version());
    write_some(scratch("in"), "{\"note\":\"kept\",\"format\":\"tf\",\"mglu.activation\":\"relu\"}", packable_layer);
    assert_ok(mglu_file_pack(scratch("in"), scratch("out"), NULL));
    packed = open_ok(scratch("out"));
    assert_string_equal(mglu_file_metadata(packed, "note"), "kept");
    assert_string_equal(mglu_file_metadata(packed, "format"), "pt");
    assert_string_equal(mglu_file_metadata(packed, "mglu.version"), "1");
    assert_string_equal(mglu_file_metadata(packed, "mglu.producer"), producer);
    assert_string_equal(mglu_file_metadata(packed, "mglu.activation"), "relu");
    mglu_file_close(&packed);
    assert_ok(mglu_file_pack(scratch("in"), scratch("out"), &options));
    packed = open_ok(scratch("out"));
    assert_string_equal(mglu_file_metadata(packed, "mglu.activation"), "gelu_tanh");
    mglu_file_close(&packed);
}

static void the_output_may_be_the_input(void **state)
{
    const mglu_file_pack_options again = {.struct_size = sizeof again, .convert = 1, .dtype = MGLU_DTYPE_BF16};
    mglu_file *packed;

    write_some(scratch("x"), NULL, packable_layer);
    assert_ok(mglu_file_pack(scratch("x"), scratch("x"), NULL));
    assert_ok(mglu_file_pack(scratch("x"), scratch("x"), &again));
    packed = open_ok(scratch("x"));
    assert_non_null(mglu_file_find(packed, "P.mask_bits"));
    assert_int_equal(mglu_file_find(packed, "P.weight")->dtype, MGLU_FILE_BF16);
    assert_int_equal(scratch_count(), 1);
    mglu_file_close(&packed);
}

static void only_the_matrices_of_layers_are_converted(void **state)
{
    static const float third[3] = {1.0f / 3, 65504.0f, -0.0f};
    static const uint16_t third_f16[3] = {0x3555, 0x7bff, 0x8000};
    static const struct {
        const char *name, *shape;
        int converted;
    } tensors[] = {
        {"m.up_proj.weight", "1, 3", 1},   {"m.up_proj.gate_bias", "3, 1", 0}, {"m.up_proj.value_bias", "3, 1", 0},
        {"m.down_proj.weight", "3, 1", 1}, {"m.down_proj.bias", "3", 0},       {"norm.weight", "3", 0},
        {"p.gate_proj.weight", "1, 3", 1}, {"p.up_proj.weight", "1, 3", 1},    {"p.down_proj.weight", "3, 1", 1},
        {"attention.weight", "1, 3", 0},
    };
    const mglu_file_pack_options options = {.struct_size = sizeof options, .convert = 1, .dtype = MGLU_DTYPE_F16};
    struct part parts[COUNT(tensors) + 1];
    mglu_file *packed;

    for (size_t i = 0; i < COUNT(tensors); i++)
        parts[i] = (struct part){tensors[i].name, "F32", tensors[i].shape, third, sizeof third};
    parts[COUNT(tensors)] = (struct part){"m.up_proj.mask", "U8", "3, 1, 3", NULL, 9};
    write_parts(scratch("in"), NULL, parts, COUNT(parts));
    assert_ok(mglu_file_pack(scratch("in"), scratch("out"), &options));
    packed = open_ok(scratch("out"));
    for (size_t i = 0; i < COUNT(tensors); i++) {
        const mglu_file_tensor *found = mglu_file_find(packed, tensors[i].name);

        assert_int_equal(found->dtype, tensors[i].converted ? MGLU_FILE_F16 : MGLU_FILE_F32);
        assert_memory_equal(found->data, tensors[i].converted ? (const void *)third_f16 : third, found->bytes);
    }
    mglu_file_close(&packed);
}

/* A layer of h = 64, d = 32 with a down-projection to 3: rows that both quantised dtypes can have in a file. */
static const float numbers[64 * 32] = {[3] = 4, [35] = -7, [64] = 2e4f, [65] = -1e-4f, [2047] = 0.3f};
static const struct part to_quantise[MOST_PARTS] = {
    {"m.up_proj.weight", "F32", "32, 64", numbers, sizeof numbers},
    {"m.up_proj.mask", "U8", "32, 64", NULL, 2048},
    {"m.down_proj.weight", "F32", "3, 32", numbers, 3 * 32 * sizeof(float)},
};

/* The quants and scales of `name` are those that mglu_pack_weights() makes, without its padding. */
static void assert_quantised(const mglu_file *file, const char *name, mglu_dtype dtype, int64_t rows, int64_t columns)
{
    static unsigned char quants[64 * 64], scales[256];
    size_t row_bytes = (size_t)columns / (dtype == MGLU_DTYPE_Q4_0 ? 2 : 1);
    const mglu_file_tensor *tensor = mglu_file_find(file, name), *found;
    char scale_name[64];

    snprintf(scale_name, sizeof scale_name, "%s_scale", name);
    found = mglu_file_find(file, scale_name);
    assert_non_null(found);
    assert_ok(mglu_pack_weights(&(mglu_array){.data = numbers, .dtype = MGLU_DTYPE_F32}, rows, columns, dtype, 0,
                                quants, scales));
    assert_int_equal(tensor->dtype, dtype == MGLU_DTYPE_Q4_0 ? MGLU_FILE_U8 : MGLU_FILE_I8);
    assert_int_equal(tensor->shape[0], rows);
    assert_int_equal(tensor->bytes, (size_t)rows * row_bytes);
    for (size_t r = 0; r < (size_t)rows; r++)
        assert_memory_equal((const unsigned char *)tensor->data + r * row_bytes,
                            quants + r * mglu_packed_weight_stride_bytes(dtype, columns), row_bytes);
    assert_int_equal(found->dtype, MGLU_FILE_F16);
    assert_int_equal(found->shape[1], columns / 32);
    assert_int_equal(found->bytes, mglu_packed_scale_size(dtype, rows, columns));
    assert_memory_equal(found->data, scales, found->bytes);
}

static void quantised_matrices_are_not_quantised_again(void **state)
{
    static const mglu_dtype quantised[] = {MGLU_DTYPE_Q8_0, MGLU_DTYPE_Q4_0};

    for (size_t i = 0; i < COUNT(quantised); i++) {
        const mglu_file_pack_options options = {.struct_size = sizeof options, .convert = 1, .dtype = quantised[i]};
        const mglu_file_pack_options *const times[] = {&options, NULL, &options};
        write_some(scratch("x"), NULL, to_quantise);
        for (size_t k = 0; k < COUNT(times); k++) {
            mglu_file *packed;
            assert_ok(mglu_file_pack(scratch("x"), scratch("x"), times[k]));
            packed = open_ok(scratch("x"));
            assert_int_equal(mglu_file_tensor_count(packed), 5);
            assert_quantised(packed, "m.up_proj.weight", quantised[i], 32, 64);
            assert_quantised(packed, "m.down_proj.weight", quantised[i], 3, 32);
            mglu_file_close(&packed);
        }
    }
}

static void packed_floats_can_be_quantised_later(void **state)
{
    mglu_file_pack_options options = {.struct_size = sizeof options, .convert = 1, .dtype = MGLU_DTYPE_F32};
    mglu_file *packed;

    write_some(scratch("in"), NULL, to_quantise);
    assert_ok(mglu_file_pack(scratch("in"), scratch("out"), &options));
    options.dtype = MGLU_DTYPE_Q8_0;
    assert_ok(mglu_file_pack(scratch("out"), scratch("out"), &options));
    packed = open_ok(scratch("out"));
    assert_quantised(packed, "m.up_proj.weight", MGLU_DTYPE_Q8_0, 32, 64);
    mglu_file_close(&packed);
}

/* A tensor that belongs to no layer may hold anything. */
static void infinities_outside_layers_are_copied(void **state)
{
    static const float inf[1] = {INFINITY};
    const struct part parts[MOST_PARTS] = {packable_layer[0], packable_layer[1], {"causal_mask", "F32", "1", inf, 4}};
    mglu_file *packed;

    write_some(scratch("in"), NULL, parts);
    assert_ok(mglu_file_pack(scratch("in"), scratch("out"), NULL));
    packed = open_ok(scratch("out"));
    assert_memory_equal(mglu_file_find(packed, "causal_mask")->data, inf, 4);
    mglu_file_close(&packed);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_scratch, remove_scratch)
    const struct CMUnitTest tests[] = {
        TEST(a_real_model_keeps_every_bit_and_every_other_tensor),
        TEST(masks_of_every_form_are_thresholded_at_zero),
        TEST(one_mask_needs_no_mask_dimension),
        TEST(metadata_is_kept_and_completed),
        TEST(the_output_may_be_the_input),
        TEST(only_the_matrices_of_layers_are_converted),
        TEST(quantised_matrices_are_not_quantised_again),
        TEST(packed_floats_can_be_quantised_later),
        TEST(infinities_outside_layers_are_copied),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
