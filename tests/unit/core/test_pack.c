/* SPDX-License-Identifier: MIT */
#include "tests/unit/check.h"

#include "common/core/convert.h"
#include "common/core/mask_format.h"

#include <mglu/pack.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* A small random number generator: the same numbers on every machine. */
static uint32_t next_random(uint32_t *seed)
{
    *seed = *seed * 1664525u + 1013904223u;
    return *seed >> 8;
}

/* The worked example of docs/format.md: h = 35, d = 1, n_m = 2. Column 0, 3 and 34 of mask 0; 31 and 32 of mask 1. */
static void the_worked_example_has_the_documented_bytes(void **state)
{
    static const uint8_t documented[] = {
        0x09, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x80, /* group 0: mask 0, mask 1 */
        0x04, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, /* group 1: mask 0, mask 1 */
    };
    uint8_t masks[2][35] = {{0}};
    uint32_t packed[4];

    masks[0][0] = masks[0][3] = masks[0][34] = 1;
    masks[1][31] = masks[1][32] = 1;
    assert_int_equal(mglu_packed_mask_size(2, 1, 35), sizeof documented);
    assert_ok(mglu_pack_masks(&(mglu_mask_array){masks, MGLU_MASK_BYTES}, 2, 1, 35, packed));
    assert_memory_equal(packed, documented, sizeof documented);
}

/* The other half of the worked example: 35 halves 1.0 make a row of 64 columns, 128 bytes. */
static void a_packed_row_is_padded_to_whole_groups_and_64_bytes(void **state)
{
    static const struct {
        mglu_dtype dtype;
        int64_t h;
        size_t stride;
    } cases[] = {
        {MGLU_DTYPE_F16, 0, 0},      {MGLU_DTYPE_F16, 1, 64},
        {MGLU_DTYPE_F16, 32, 64},    {MGLU_DTYPE_F16, 33, 128},
        {MGLU_DTYPE_F16, 35, 128},   {MGLU_DTYPE_BF16, 64, 128},
        {MGLU_DTYPE_F32, 1, 128},    {MGLU_DTYPE_F32, 33, 256},
        {MGLU_DTYPE_Q8_0, 33, 64},   {MGLU_DTYPE_Q8_0, 65, 128},
        {MGLU_DTYPE_Q4_0, 1, 64},    {MGLU_DTYPE_Q4_0, 128, 64},
        {MGLU_DTYPE_Q4_0, 129, 128}, {(mglu_dtype)MGLU_DTYPE_COUNT, 32, 0},
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_int_equal(mglu_packed_weight_stride_bytes(cases[i].dtype, cases[i].h), cases[i].stride);
    assert_int_equal(mglu_packed_columns(35), 64);
    assert_int_equal(mglu_packed_weight_offset(MGLU_DTYPE_Q8_0, 65, 2, 3), 2 * 128 + 3);
    assert_int_equal(mglu_packed_weight_offset(MGLU_DTYPE_Q4_0, 65, 2, 15), 2 * 64 + 15);
    assert_int_equal(mglu_packed_weight_offset(MGLU_DTYPE_Q4_0, 65, 2, 16), 2 * 64);
    assert_int_equal(mglu_packed_weight_offset(MGLU_DTYPE_Q4_0, 65, 2, 33), 2 * 64 + 16 + 1);
    assert_int_equal(mglu_packed_weight_offset(MGLU_DTYPE_F16, 35, 2, 3), 2 * 128 + 3 * 2);
    assert_int_equal(mglu_packed_mask_offset(2, 35, 1, 34, 1), 4 * (4 + 2 + 1));
}

/* Packs random masks and compares every bit with the layout's definition, then unpacks them. */
static void check_masks(int32_t n_masks, int64_t h, int64_t d, uint32_t *seed)
{
    size_t count = (size_t)(n_masks * d * h), size = mglu_packed_mask_size(n_masks, d, h);
    size_t groups = (size_t)(h + 31) / 32;
    uint8_t *masks = malloc(count), *back = malloc(count);
    uint32_t *packed = malloc(size), *expected = calloc(1, size);

    for (size_t i = 0; i < count; i++)
        masks[i] = next_random(seed) & 1;
    for (size_t i = 0; i < (size_t)n_masks; i++)
        for (size_t r = 0; r < (size_t)d; r++)
            for (size_t c = 0; c < (size_t)h; c++)
                expected[(r * groups + c / 32) * (size_t)n_masks + i] |=
                    (uint32_t)masks[(i * (size_t)d + r) * (size_t)h + c] << (c % 32);
    memset(packed, 0xff, size);
    assert_ok(mglu_pack_masks(&(mglu_mask_array){masks, MGLU_MASK_BYTES}, n_masks, d, h, packed));
    assert_memory_equal(packed, expected, size);
    assert_ok(mglu_unpack_masks(packed, n_masks, d, h, back));
    assert_memory_equal(back, masks, count);
    memset(expected, 0xff, size);
    assert_ok(mglu_pack_masks(&(mglu_mask_array){packed, MGLU_MASK_WORDS}, n_masks, d, h, expected));
    assert_memory_equal(expected, packed, size);
    free(masks), free(back), free(packed), free(expected);
}

static void masks_are_packed_bit_exactly_at_every_h_and_n_m(void **state)
{
    uint32_t seed = 1;

    for (int32_t n_masks = 1; n_masks <= MGLU_MAX_MASKS; n_masks++)
        for (int64_t h = 1; h <= 130; h++)
            check_masks(n_masks, h, 3, &seed);
}

/* Every dtype to every dtype: unpacking gives the rounded source, and all padding is zero. */
static void check_weights(mglu_dtype from, mglu_dtype to, int64_t h, int64_t d, uint32_t *seed)
{
    size_t count = (size_t)(h * d), stride = mglu_packed_weight_stride_bytes(to, h),
           used = (size_t)h * mglu_dtype_size(to);
    size_t source_stride = (size_t)h * mglu_dtype_size(from) + 6;
    unsigned char *source = calloc((size_t)d, source_stride), *packed = malloc(stride * (size_t)d);
    void *expected = malloc(count * mglu_dtype_size(to)), *back = malloc(count * mglu_dtype_size(to));

    for (size_t i = 0; i < count; i++) {
        void *row = source + i / (size_t)h * source_stride;
        mglu_store_element(row, from, i % (size_t)h, ((float)next_random(seed) - 8388608.0f) / 1048576.0f);
        mglu_store_element(expected, to, i, mglu_load_element(row, from, i % (size_t)h));
    }
    memset(packed, 0xff, stride * (size_t)d);
    assert_ok(mglu_pack_weights(&(mglu_array){.data = source, .dtype = from, .stride_bytes = source_stride}, d, h, to,
                                0, packed, NULL));
    assert_ok(mglu_unpack_weights(packed, NULL, to, d, h, to, back));
    assert_memory_equal(back, expected, count * mglu_dtype_size(to));
    for (size_t r = 0; r < (size_t)d; r++)
        for (size_t i = used; i < stride; i++)
            assert_int_equal(packed[r * stride + i], 0);
    free(source), free(packed), free(expected), free(back);
}

static void weights_are_packed_exactly_at_every_h_and_dtype(void **state)
{
    uint32_t seed = 2;

    for (int from = MGLU_DTYPE_F32; from <= MGLU_DTYPE_BF16; from++)
        for (int to = MGLU_DTYPE_F32; to <= MGLU_DTYPE_BF16; to++)
            for (int64_t h = 1; h <= 130; h++)
                check_weights((mglu_dtype)from, (mglu_dtype)to, h, 2, &seed);
}

static void logits_above_zero_are_ones(void **state)
{
    const float logits[] = {0.0f, -0.0f, 0x1p-149f, -0x1p-149f, 1, -1, INFINITY, -INFINITY};
    const uint32_t want_f32 = 1u << 2 | 1u << 4 | 1u << 6, want_half = 1u << 4 | 1u << 6;
    unsigned char half[16];
    uint32_t packed;

    assert_ok(mglu_pack_masks(&(mglu_mask_array){logits, MGLU_MASK_LOGITS_F32}, 1, 1, 8, &packed));
    assert_int_equal(packed, want_f32);
    assert_ok(mglu_convert(logits, MGLU_DTYPE_F32, half, MGLU_DTYPE_F16, 8));
    assert_ok(mglu_pack_masks(&(mglu_mask_array){half, MGLU_MASK_LOGITS_F16}, 1, 1, 8, &packed));
    assert_int_equal(packed, want_half);
    assert_ok(mglu_convert(logits, MGLU_DTYPE_F32, half, MGLU_DTYPE_BF16, 8));
    assert_ok(mglu_pack_masks(&(mglu_mask_array){half, MGLU_MASK_LOGITS_BF16}, 1, 1, 8, &packed));
    assert_int_equal(packed, want_half);
}

static void bits_are_read_least_significant_first_in_rows_of_whole_bytes(void **state)
{
    /* n_m = 2, d = 1, h = 10: two bytes a row. */
    const uint8_t bits[] = {0x81, 0x02, 0x40, 0x01};
    uint32_t packed[2];

    assert_ok(mglu_pack_masks(&(mglu_mask_array){bits, MGLU_MASK_BITS}, 2, 1, 10, packed));
    assert_int_equal(packed[0], 0x281);
    assert_int_equal(packed[1], 0x140);
}

static void invalid_mask_values_are_refused_with_their_index(void **state)
{
    const uint8_t bytes[] = {0, 1, 1, 2};
    const float logits[] = {0, 1, NAN, 0};
    const uint8_t bits[] = {0x04}; /* h = 2: bit 2 is padding */
    const uint32_t words[] = {0x10};
    uint32_t packed[4];

    assert_status(mglu_pack_masks(&(mglu_mask_array){bytes, MGLU_MASK_BYTES}, 1, 2, 2, packed),
                  MGLU_ERROR_INVALID_ARGUMENT);
    assert_error_says("mask 0 [1][1] is neither 0 nor 1");
    assert_status(mglu_pack_masks(&(mglu_mask_array){logits, MGLU_MASK_LOGITS_F32}, 2, 1, 2, packed),
                  MGLU_ERROR_INVALID_ARGUMENT);
    assert_error_says("mask 1 [0][0] is NaN");
    assert_status(mglu_pack_masks(&(mglu_mask_array){bits, MGLU_MASK_BITS}, 1, 1, 2, packed),
                  MGLU_ERROR_INVALID_ARGUMENT);
    assert_error_says("padding");
    assert_status(mglu_pack_masks(&(mglu_mask_array){words, MGLU_MASK_WORDS}, 1, 1, 4, packed),
                  MGLU_ERROR_INVALID_ARGUMENT);
    assert_error_says("padding");
}

static void an_invalid_mask_value_is_found_wherever_it_is(void **state)
{
    static const mglu_mask_form forms[] = {MGLU_MASK_BYTES, MGLU_MASK_LOGITS_F32, MGLU_MASK_LOGITS_F16,
                                           MGLU_MASK_LOGITS_BF16};
    char says[40];
    uint32_t packed[3];

    for (size_t form = 0; form < sizeof forms / sizeof forms[0]; form++)
        for (size_t column = 0; column < 70; column++) {
            float logits[70] = {[3] = INFINITY, [40] = -INFINITY};
            uint16_t halves[70] = {[3] = 0x7c00};
            uint8_t bytes[70] = {[3] = 1};
            const void *const data[] = {bytes, logits, halves, halves};

            bytes[column] = 2;
            logits[column] = NAN;
            halves[column] = 0x7fff;
            snprintf(says, sizeof says, "mask 0 [0][%zu] is ", column);
            assert_status(mglu_pack_masks(&(mglu_mask_array){data[form], forms[form]}, 1, 1, 70, packed),
                          MGLU_ERROR_INVALID_ARGUMENT);
            assert_error_says(says);
        }
}

static void mask_counts_outside_1_to_16_are_refused(void **state)
{
    const uint8_t bytes[17] = {0};
    uint32_t packed[17];

    for (int32_t n_masks = 0; n_masks <= 17; n_masks += 17) {
        assert_status(mglu_pack_masks(&(mglu_mask_array){bytes, MGLU_MASK_BYTES}, n_masks, 1, 1, packed),
                      MGLU_ERROR_INVALID_ARGUMENT);
        assert_error_says("1..16");
        assert_int_equal(mglu_packed_mask_size(n_masks, 1, 1), 0);
    }
}

static void nonfinite_weights_are_refused_unless_allowed(void **state)
{
    const float weights[] = {1, 2, 3, INFINITY}, large[] = {70000};
    unsigned char packed[256];

    assert_status(mglu_pack_weights(&(mglu_array){.data = weights, .dtype = MGLU_DTYPE_F32}, 2, 2, MGLU_DTYPE_F32, 0,
                                    packed, NULL),
                  MGLU_ERROR_NONFINITE);
    assert_error_says("[1][1]");
    assert_ok(mglu_pack_weights(&(mglu_array){.data = weights, .dtype = MGLU_DTYPE_F32}, 2, 2, MGLU_DTYPE_F32, 1,
                                packed, NULL));
    assert_status(
        mglu_pack_weights(&(mglu_array){.data = large, .dtype = MGLU_DTYPE_F32}, 1, 1, MGLU_DTYPE_F16, 0, packed, NULL),
        MGLU_ERROR_NONFINITE);
    assert_error_says("not finite in f16");
}

static void bad_arguments_are_refused(void **state)
{
    const mglu_array source = {.data = "", .dtype = MGLU_DTYPE_F32, .stride_bytes = 3};
    unsigned char packed[256];

    assert_status(mglu_pack_weights(NULL, 1, 1, MGLU_DTYPE_F32, 0, packed, NULL), MGLU_ERROR_INVALID_ARGUMENT);
    assert_status(mglu_pack_weights(&source, 1, 1, MGLU_DTYPE_F32, 0, packed, NULL), MGLU_ERROR_INVALID_ARGUMENT);
    assert_status(mglu_pack_weights(&source, -1, 1, MGLU_DTYPE_F32, 0, packed, NULL), MGLU_ERROR_INVALID_ARGUMENT);
    assert_status(mglu_pack_weights(&source, 1, MGLU_MAX_SIZE + 1, MGLU_DTYPE_F32, 0, packed, NULL),
                  MGLU_ERROR_INVALID_ARGUMENT);
    assert_status(mglu_pack_weights(&source, 1, 1, (mglu_dtype)5, 0, packed, NULL), MGLU_ERROR_INVALID_ARGUMENT);
    assert_status(mglu_unpack_weights(NULL, NULL, MGLU_DTYPE_F32, 1, 1, MGLU_DTYPE_F32, packed),
                  MGLU_ERROR_INVALID_ARGUMENT);
    assert_status(mglu_unpack_masks(NULL, 1, 1, 1, packed), MGLU_ERROR_INVALID_ARGUMENT);
    assert_ok(mglu_pack_weights(&(mglu_array){0}, 0, 7, MGLU_DTYPE_F32, 0, NULL, NULL));
}

static void valid_bits_cover_the_columns_of_the_last_group(void **state)
{
    assert_int_equal(mglu_format_valid_bits(1, 0), 1);
    assert_int_equal(mglu_format_valid_bits(32, 0), 0xffffffffu);
    assert_int_equal(mglu_format_valid_bits(33, 0), 0xffffffffu);
    assert_int_equal(mglu_format_valid_bits(63, 1), 0x7fffffffu);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_worked_example_has_the_documented_bytes),
        cmocka_unit_test(a_packed_row_is_padded_to_whole_groups_and_64_bytes),
        cmocka_unit_test(masks_are_packed_bit_exactly_at_every_h_and_n_m),
        cmocka_unit_test(weights_are_packed_exactly_at_every_h_and_dtype),
        cmocka_unit_test(logits_above_zero_are_ones),
        cmocka_unit_test(bits_are_read_least_significant_first_in_rows_of_whole_bytes),
        cmocka_unit_test(invalid_mask_values_are_refused_with_their_index),
        cmocka_unit_test(an_invalid_mask_value_is_found_wherever_it_is),
        cmocka_unit_test(mask_counts_outside_1_to_16_are_refused),
        cmocka_unit_test(nonfinite_weights_are_refused_unless_allowed),
        cmocka_unit_test(bad_arguments_are_refused),
        cmocka_unit_test(valid_bits_cover_the_columns_of_the_last_group),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
