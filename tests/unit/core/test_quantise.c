/* SPDX-License-Identifier: MIT */
#include "tests/unit/sample.h"

#include "common/core/convert.h"

#include <mglu/pack.h>

#include <fenv.h>
#include <math.h>
#include <stdlib.h>

static const mglu_dtype quantised[] = {MGLU_DTYPE_Q8_0, MGLU_DTYPE_Q4_0};

/* Room for 2 packed rows of up to 130 columns. */
struct packed {
    unsigned char quants[2 * 192], scales[2 * 10];
};

static struct packed pack(const mglu_array *source, int64_t d, int64_t h, mglu_dtype dtype)
{
    struct packed packed;

    memset(&packed, 0xaa, sizeof packed);
    assert_true(mglu_packed_weight_size(dtype, d, h) <= sizeof packed.quants);
    assert_true(mglu_packed_scale_size(dtype, d, h) <= sizeof packed.scales);
    assert_ok(mglu_pack_weights(source, d, h, dtype, 0, packed.quants, packed.scales));
    return packed;
}

static struct packed pack_f32(const float *weights, int64_t d, int64_t h, mglu_dtype dtype)
{
    return pack(&(mglu_array){.data = weights, .dtype = MGLU_DTYPE_F32}, d, h, dtype);
}

/* The worked examples of docs/format.md: h = 35, d = 1. */
static void the_worked_example_of_q8_0_has_the_documented_bytes(void **state)
{
    const float weights[35] = {[0] = 1, [1] = -7.9375f, [31] = 0.5f, [34] = 127};
    const unsigned char quants[64] = {[0] = 0x10, [1] = 0x81, [31] = 0x08, [34] = 0x7f};
    const unsigned char scales[4] = {0x00, 0x2c, 0x00, 0x3c};
    struct packed packed = pack_f32(weights, 1, 35, MGLU_DTYPE_Q8_0);

    assert_int_equal(mglu_packed_weight_size(MGLU_DTYPE_Q8_0, 1, 35), sizeof quants);
    assert_memory_equal(packed.quants, quants, sizeof quants);
    assert_memory_equal(packed.scales, scales, sizeof scales);
}

static void the_worked_example_of_q4_0_has_the_documented_bytes(void **state)
{
    const float weights[35] = {[0] = 4, [1] = -8, [16] = 7, [31] = -1, [32] = 2, [34] = -1};
    const unsigned char scales[4] = {0x00, 0x3c, 0x00, 0xb4};
    unsigned char quants[64];
    struct packed packed = pack_f32(weights, 1, 35, MGLU_DTYPE_Q4_0);

    memset(quants, 0x88, sizeof quants);
    quants[0] = 0xfc, quants[1] = 0x80, quants[15] = 0x78, quants[16] = 0x80, quants[18] = 0x8c;
    assert_int_equal(mglu_packed_weight_size(MGLU_DTYPE_Q4_0, 1, 35), sizeof quants);
    assert_memory_equal(packed.quants, quants, sizeof quants);
    assert_memory_equal(packed.scales, scales, sizeof scales);
}

static void sizes_of_scales_are_given_for_quantised_dtypes_only(void **state)
{
    for (int i = 0; i < 2; i++) {
        assert_int_equal(mglu_packed_scale_stride_bytes(quantised[i], 65), 6);
        assert_int_equal(mglu_packed_scale_size(quantised[i], 3, 65), 18);
        assert_int_equal(mglu_packed_scale_offset(quantised[i], 65, 2, 63), 2 * 6 + 2);
        assert_int_equal(mglu_packed_scale_size(quantised[i], 3, MGLU_MAX_SIZE + 1), 0);
        assert_int_equal(mglu_packed_scale_size(quantised[i], -1, 65), 0);
    }
    assert_int_equal(mglu_packed_scale_stride_bytes(MGLU_DTYPE_F16, 65), 0);
    assert_int_equal(mglu_packed_scale_size(MGLU_DTYPE_BF16, 3, 65), 0);
    assert_int_equal(mglu_packed_scale_offset(MGLU_DTYPE_F32, 65, 2, 63), 0);
}

/* The value of the bytes, as defined in the format. */
static float meaning(const struct packed *packed, mglu_dtype dtype, int64_t h, int64_t row, int64_t column)
{
    const unsigned char *quants =
        packed->quants + row * (dtype == MGLU_DTYPE_Q8_0 ? (h + 63) / 64 : (h + 127) / 128) * 64;
    float scale = mglu_load_element(packed->scales, MGLU_DTYPE_F16, (size_t)(row * ((h + 31) / 32) + column / 32));
    int pair;

    if (dtype == MGLU_DTYPE_Q8_0)
        return scale * (float)(signed char)quants[column];
    pair = quants[column / 32 * 16 + column % 16];
    return scale * (float)((column % 32 < 16 ? pair % 16 : pair / 16) - 8);
}

static float largest_of_group(const float *row, int64_t h, int64_t column)
{
    float found = 0;

    for (int64_t c = column / 32 * 32; c < h && c < column / 32 * 32 + 32; c++)
        found = fmaxf(found, fabsf(row[c]));
    return found;
}

/* Every element is within half a step (q4_0: a whole one at the far end), and unpacked to the value of the bytes. */
static void check_round_trip(mglu_dtype dtype, int64_t h, uint32_t *seed)
{
    float weights[2 * 130], back[2 * 130];
    struct packed packed;

    for (int64_t i = 0; i < 2 * h; i++)
        weights[i] = sample_number(seed);
    packed = pack_f32(weights, 2, h, dtype);
    assert_ok(mglu_unpack_weights(packed.quants, packed.scales, dtype, 2, h, MGLU_DTYPE_F32, back));
    for (int64_t i = 0; i < 2 * h; i++) {
        float step = largest_of_group(weights + i / h * h, h, i % h) / (dtype == MGLU_DTYPE_Q8_0 ? 127 : 8);
        assert_true(back[i] == meaning(&packed, dtype, h, i / h, i % h));
        assert_true(fabsf(back[i] - weights[i]) <= (dtype == MGLU_DTYPE_Q8_0 ? 0.57f : 1.01f) * step);
    }
}

static void weights_are_within_a_step_after_unpacking_at_every_h(void **state)
{
    uint32_t seed = 3;

    for (int i = 0; i < 2; i++)
        for (int64_t h = 1; h <= 130; h++)
            check_round_trip(quantised[i], h, &seed);
}

/* Sources with rows without padding, and with a larger stride and arbitrary bytes in place of the padding. */
static void quantised_sources_are_copied_and_their_padding_cleared(void **state)
{
    uint32_t seed = 4;

    for (int i = 0; i < 2; i++)
        for (int64_t h = 1; h <= 130; h++) {
            size_t row = quantised[i] == MGLU_DTYPE_Q8_0 ? (size_t)h : (size_t)(h + 31) / 32 * 16;
            size_t scale_row = (size_t)(h + 31) / 32 * 2, apart = h % 2 ? 7 : 0;
            unsigned char rows[2 * (160 + 7)], scales[2 * (10 + 7)];
            struct packed packed;

            for (size_t k = 0; k < sizeof rows; k++)
                rows[k] = (unsigned char)(128 + 127 * sample_number(&seed));
            for (size_t k = 0; k < sizeof scales; k++)
                scales[k] = (unsigned char)(60 + 40 * sample_number(&seed));
            packed = pack(&(mglu_array){.data = rows,
                                        .dtype = quantised[i],
                                        .stride_bytes = apart ? row + apart : 0,
                                        .scales = scales,
                                        .scale_stride_bytes = apart ? scale_row + apart : 0},
                          2, h, quantised[i]);
            for (int64_t c = 0; c < h; c++) {
                struct packed second = {{0}, {0}};
                memcpy(second.quants, rows + row + apart, row);
                memcpy(second.scales, scales + scale_row + apart, scale_row);
                assert_true(meaning(&packed, quantised[i], h, 1, c) == meaning(&second, quantised[i], h, 0, c));
            }
            for (int64_t c = h; c < mglu_packed_columns(h); c++)
                assert_true(meaning(&packed, quantised[i], h, 1, c) == 0);
        }
}

/* A scale of 1, so that weights are rounded as they are; the float before a half rounds down. */
static void halves_are_rounded_away_from_zero(void **state)
{
    float weights[32] = {127, 0.5f, -0.5f, 1.5f, -2.5f, 126.5f, -126.5f};
    const signed char want[32] = {127, 1, -1, 2, -3, 127, -127, 0, 0, 3};
    struct packed packed;

    weights[7] = nextafterf(0.5f, 0);
    weights[8] = -weights[7];
    weights[9] = nextafterf(3.5f, 0);
    packed = pack_f32(weights, 1, 32, MGLU_DTYPE_Q8_0);
    assert_memory_equal(packed.quants, want, sizeof want);
}

/* The sign of the scale of q4_0 is that of the first of them. */
static void of_two_largest_weights_the_first_counts(void **state)
{
    const float weights[64] = {[3] = 8, [20] = -8, [33] = -8, [63] = 8};
    struct packed packed = pack_f32(weights, 1, 64, MGLU_DTYPE_Q4_0);

    assert_memory_equal(packed.scales, ((const unsigned char[]){0x00, 0xbc, 0x00, 0x3c}), 4);
}

static void groups_too_small_for_f16_scales_become_zero(void **state)
{
    const float sizes[] = {0, 0x1p-149f, 0x1p-140f, 0x1p-129f, 0x1p-126f, 0x1p-60f};
    float back[32];

    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++)
        for (int i = 0; i < 2; i++) {
            const float weights[32] = {[3] = sizes[s], [4] = -sizes[s]};
            struct packed packed = pack_f32(weights, 1, 32, quantised[i]);
            assert_ok(mglu_unpack_weights(packed.quants, packed.scales, quantised[i], 1, 32, MGLU_DTYPE_F32, back));
            for (int c = 0; c < 32; c++)
                assert_true(back[c] == 0);
        }
}

static void bits_do_not_depend_on_the_callers_rounding_mode(void **state)
{
    float weights[64];
    uint32_t seed = 5;

    for (int c = 0; c < 64; c++)
        weights[c] = sample_number(&seed);
    for (int i = 0; i < 2; i++) {
        struct packed nearest = pack_f32(weights, 1, 64, quantised[i]), upward;
        fesetround(FE_UPWARD);
        upward = pack_f32(weights, 1, 64, quantised[i]);
        assert_int_equal(fegetround(), FE_UPWARD);
        fesetround(FE_TONEAREST);
        assert_memory_equal(&upward, &nearest, sizeof nearest);
    }
}

static void what_cannot_be_quantised_is_refused_with_its_index(void **state)
{
    const float good[4] = {1}, infinite[4] = {0, 0, 0, INFINITY}, huge[4] = {0, 0, 9e6f};
    const unsigned char quants[64] = {0}, scales[4] = {0, 0, 0, 0x7e};
    const mglu_array without_scales = {.data = quants, .dtype = MGLU_DTYPE_Q8_0};
    const struct {
        mglu_array source;
        mglu_dtype dtype;
        mglu_status status;
        const char *says;
    } cases[] = {
        {{.data = infinite}, MGLU_DTYPE_Q8_0, MGLU_ERROR_NONFINITE, "weight [1][1] = inf is not finite in q8_0"},
        {{.data = infinite}, MGLU_DTYPE_Q4_0, MGLU_ERROR_NONFINITE, "weight [1][1] = inf is not finite in q4_0"},
        {{.data = huge}, MGLU_DTYPE_Q8_0, MGLU_ERROR_NONFINITE, "weight [1][0]: the scale of its group, 70866.1"},
        {{.data = huge}, MGLU_DTYPE_Q4_0, MGLU_ERROR_NONFINITE, "weight [1][0]: the scale of its group, -1.125e+06"},
        {{.data = quants, .dtype = MGLU_DTYPE_Q8_0, .scales = scales},
         MGLU_DTYPE_Q8_0,
         MGLU_ERROR_NONFINITE,
         "the scale [1][0] is not finite"},
        {{.data = quants, .dtype = MGLU_DTYPE_Q8_0, .scales = scales},
         MGLU_DTYPE_Q4_0,
         MGLU_ERROR_INVALID_ARGUMENT,
         "weight is q8_0, which is not converted to q4_0"},
        {{.data = quants, .dtype = MGLU_DTYPE_Q4_0, .scales = scales},
         MGLU_DTYPE_F32,
         MGLU_ERROR_INVALID_ARGUMENT,
         "weight is q4_0, which is not converted to f32"},
        {without_scales, MGLU_DTYPE_Q8_0, MGLU_ERROR_INVALID_ARGUMENT, "lacks scales"},
        {{.data = good, .scales = scales}, MGLU_DTYPE_F32, MGLU_ERROR_INVALID_ARGUMENT, "weight is f32 and has scales"},
    };
    struct packed packed;

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_status(mglu_pack_weights(&cases[i].source, 2, 2, cases[i].dtype, 1, packed.quants, packed.scales),
                      cases[i].status);
        assert_error_says(cases[i].says);
    }
    assert_status(mglu_pack_weights(&(mglu_array){.data = good}, 2, 2, MGLU_DTYPE_Q8_0, 0, packed.quants, NULL),
                  MGLU_ERROR_INVALID_ARGUMENT);
    assert_status(mglu_unpack_weights(quants, NULL, MGLU_DTYPE_Q8_0, 1, 1, MGLU_DTYPE_F32, packed.quants),
                  MGLU_ERROR_INVALID_ARGUMENT);
    assert_status(mglu_unpack_weights(good, NULL, MGLU_DTYPE_F32, 1, 1, MGLU_DTYPE_Q8_0, packed.quants),
                  MGLU_ERROR_INVALID_ARGUMENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_worked_example_of_q8_0_has_the_documented_bytes),
        cmocka_unit_test(the_worked_example_of_q4_0_has_the_documented_bytes),
        cmocka_unit_test(sizes_of_scales_are_given_for_quantised_dtypes_only),
        cmocka_unit_test(weights_are_within_a_step_after_unpacking_at_every_h),
        cmocka_unit_test(quantised_sources_are_copied_and_their_padding_cleared),
        cmocka_unit_test(halves_are_rounded_away_from_zero),
        cmocka_unit_test(of_two_largest_weights_the_first_counts),
        cmocka_unit_test(groups_too_small_for_f16_scales_become_zero),
        cmocka_unit_test(bits_do_not_depend_on_the_callers_rounding_mode),
        cmocka_unit_test(what_cannot_be_quantised_is_refused_with_its_index),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
