/* SPDX-License-Identifier: MIT */
#include "tests/unit/check.h"

#include "common/core/convert.h"

#include <math.h>

/* The value of a half from its definition. */
static double half_by_definition(uint16_t bits)
{
    int exponent = (bits >> 10) & 31;
    double sign = bits & 0x8000 ? -1 : 1, mantissa = bits & 0x3ff;

    if (exponent == 31)
        return mantissa != 0 ? NAN : sign * INFINITY;
    return sign * (exponent ? ldexp(1024 + mantissa, exponent - 25) : ldexp(mantissa, -24));
}

static void every_half_has_its_defined_value(void **state)
{
    for (uint32_t bits = 0; bits <= 0xffff; bits++) {
        double want = half_by_definition((uint16_t)bits), got = (double)mglu_f16_to_f32((uint16_t)bits);
        assert_true(isnan(want) ? isnan(got) : want == got);
    }
}

static void halves_survive_a_round_trip(void **state)
{
    for (uint32_t bits = 0; bits <= 0xffff; bits++) {
        uint16_t back = mglu_f32_to_f16(mglu_f16_to_f32((uint16_t)bits));
        if (isnan(half_by_definition((uint16_t)bits)))
            assert_true(isnan(half_by_definition(back)));
        else
            assert_int_equal(back, bits);
        back = mglu_f32_to_bf16(mglu_bf16_to_f32((uint16_t)bits));
        if (isnan(mglu_bf16_to_f32((uint16_t)bits)))
            assert_true(isnan(mglu_bf16_to_f32(back)));
        else
            assert_int_equal(back, bits);
    }
}

/* Between two neighbouring halves: below the middle goes down, above goes up, the middle goes to the even one. */
static void rounding_to_halves_is_to_nearest_even(void **state)
{
    for (uint32_t bits = 0; bits < 0x7bff; bits++) {
        float low = mglu_f16_to_f32((uint16_t)bits), high = mglu_f16_to_f32((uint16_t)(bits + 1));
        float middle = low + (high - low) / 2;
        assert_int_equal(mglu_f32_to_f16(nextafterf(middle, low)), bits);
        assert_int_equal(mglu_f32_to_f16(nextafterf(middle, high)), bits + 1);
        assert_int_equal(mglu_f32_to_f16(middle), bits + (bits & 1));
        assert_int_equal(mglu_f32_to_f16(-middle), 0x8000u | (bits + (bits & 1)));
    }
}

static void rounding_to_bf16_is_to_nearest_even(void **state)
{
    for (uint32_t bits = 0; bits < 0x7f7f; bits++) {
        uint32_t middle = bits << 16 | 0x8000u;
        assert_int_equal(mglu_f32_to_bf16(mglu_f32_from_bits(middle - 1)), bits);
        assert_int_equal(mglu_f32_to_bf16(mglu_f32_from_bits(middle + 1)), bits + 1);
        assert_int_equal(mglu_f32_to_bf16(mglu_f32_from_bits(middle)), bits + (bits & 1));
    }
}

static void values_beyond_the_largest_half_become_infinite(void **state)
{
    assert_int_equal(mglu_f32_to_f16(65519.99f), 0x7bff);
    assert_int_equal(mglu_f32_to_f16(65520.0f), 0x7c00);
    assert_int_equal(mglu_f32_to_f16(-1e30f), 0xfc00);
    assert_int_equal(mglu_f32_to_bf16(mglu_f32_from_bits(0x7f7fffffu)), 0x7f80);
}

static void tiny_values_become_subnormal_halves_or_zero(void **state)
{
    assert_int_equal(mglu_f32_to_f16(0x1p-24f), 0x0001);
    assert_int_equal(mglu_f32_to_f16(0x1p-25f), 0x0000); /* the middle between 0 and 2^-24: to even */
    assert_int_equal(mglu_f32_to_f16(nextafterf(0x1p-25f, 1)), 0x0001);
    assert_int_equal(mglu_f32_to_f16(-0x1p-149f), 0x8000);
}

static void nan_stays_nan_even_when_its_payload_is_cut(void **state)
{
    float payload = mglu_f32_from_bits(0x7f800001u);

    assert_true(isnan(mglu_f16_to_f32(mglu_f32_to_f16(payload))));
    assert_true(isnan(mglu_bf16_to_f32(mglu_f32_to_bf16(payload))));
}

static void convert_handles_every_pair_of_dtypes_at_any_address(void **state)
{
    static const mglu_dtype dtypes[] = {MGLU_DTYPE_F32, MGLU_DTYPE_F16, MGLU_DTYPE_BF16};
    const float values[] = {0, 1, -2.5f, 0.015625f};

    for (size_t i = 0; i < 3; i++)
        for (size_t j = 0; j < 3; j++) {
            unsigned char source[17], target[17];
            float back[4];
            assert_ok(mglu_convert(values, MGLU_DTYPE_F32, source + 1, dtypes[i], 4));
            assert_ok(mglu_convert(source + 1, dtypes[i], target + 1, dtypes[j], 4));
            assert_ok(mglu_convert(target + 1, dtypes[j], back, MGLU_DTYPE_F32, 4));
            assert_memory_equal(back, values, sizeof values);
        }
}

/* Of count elements, which begin at every pattern of the upper 16 bits and have these lower ones. */
static void check_array(mglu_dtype from, mglu_dtype to, uint32_t low)
{
    enum { COUNT = 0x10000 + 5 };
    static uint32_t source[COUNT], got[COUNT], want[COUNT];

    for (uint32_t i = 0; i < COUNT; i++) {
        if (from == MGLU_DTYPE_F32)
            source[i] = i << 16 | low;
        else
            ((uint16_t *)source)[i] = (uint16_t)i;
        mglu_store_element(want, to, i, mglu_load_element(source, from, i));
    }
    assert_ok(mglu_convert(source, from, got, to, COUNT));
    assert_memory_equal(got, want, COUNT * mglu_dtype_size(to));
}

static void arrays_are_converted_as_their_elements_are(void **state)
{
    static const uint32_t lows[] = {0, 1, 0x0fff, 0x1000, 0x1001, 0x3000, 0x7fff, 0x8000, 0x8001, 0xffff};

    for (int from = MGLU_DTYPE_F32; from <= MGLU_DTYPE_BF16; from++)
        for (int to = MGLU_DTYPE_F32; to <= MGLU_DTYPE_BF16; to++)
            for (size_t i = 0; i < (from == MGLU_DTYPE_F32 ? sizeof lows / sizeof lows[0] : 1) && from != to; i++)
                check_array((mglu_dtype)from, (mglu_dtype)to, lows[i]);
}

static void the_first_element_that_is_not_finite_is_found_wherever_it_is(void **state)
{
    float floats[100] = {0};
    uint16_t halves[100] = {0};

    assert_int_equal(mglu_first_nonfinite(floats, MGLU_DTYPE_F32, 100), 100);
    assert_int_equal(mglu_first_nonfinite(halves, MGLU_DTYPE_F16, 100), 100);
    for (size_t i = 100; i-- > 0;) {
        floats[i] = i % 2 ? NAN : -INFINITY;
        halves[i] = 0xff80; /* NaN in f16, -infinity in bf16 */
        assert_int_equal(mglu_first_nonfinite(floats, MGLU_DTYPE_F32, 100), i);
        assert_int_equal(mglu_first_nonfinite(halves, MGLU_DTYPE_F16, 100), i);
        assert_int_equal(mglu_first_nonfinite(halves, MGLU_DTYPE_BF16, 100), i);
        assert_int_equal(mglu_first_nonfinite(floats, MGLU_DTYPE_F32, i), i);
    }
}

static void convert_refuses_quantised_dtypes_and_null(void **state)
{
    float value = 1;

    assert_status(mglu_convert(&value, MGLU_DTYPE_Q8_0, &value, MGLU_DTYPE_F32, 1), MGLU_ERROR_INVALID_ARGUMENT);
    assert_status(mglu_convert(NULL, MGLU_DTYPE_F32, &value, MGLU_DTYPE_F32, 1), MGLU_ERROR_INVALID_ARGUMENT);
    assert_ok(mglu_convert(NULL, MGLU_DTYPE_F32, NULL, MGLU_DTYPE_F16, 0));
}

static void names_and_values_are_inverse(void **state)
{
    mglu_activation activation;
    mglu_dtype dtype;

    for (int i = 0; i < MGLU_DTYPE_COUNT; i++) {
        assert_ok(mglu_dtype_from_name(mglu_dtype_name((mglu_dtype)i), &dtype));
        assert_int_equal(dtype, i);
    }
    for (int i = 0; i < MGLU_ACTIVATION_COUNT; i++) {
        assert_ok(mglu_activation_from_name(mglu_activation_name((mglu_activation)i), &activation));
        assert_int_equal(activation, i);
    }
    assert_null(mglu_dtype_name((mglu_dtype)MGLU_DTYPE_COUNT));
    assert_null(mglu_activation_name((mglu_activation)MGLU_ACTIVATION_COUNT));
    assert_null(mglu_activation_name((mglu_activation)99));
    assert_status(mglu_activation_from_name("swish", &activation), MGLU_ERROR_INVALID_ARGUMENT);
    assert_error_says("known: silu, gelu_erf, gelu_tanh, relu, sigmoid, identity");
    assert_status(mglu_dtype_from_name("a\nb\x7f", &dtype), MGLU_ERROR_INVALID_ARGUMENT);
    assert_error_says("'a?b?'"); /* one line, whatever the caller's text is */
    assert_string_equal(mglu_status_string(MGLU_ERROR_BAD_ROUTING), "bad_routing");
    assert_string_equal(mglu_status_string((mglu_status)-1), "unknown_status");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_half_has_its_defined_value),
        cmocka_unit_test(halves_survive_a_round_trip),
        cmocka_unit_test(rounding_to_halves_is_to_nearest_even),
        cmocka_unit_test(rounding_to_bf16_is_to_nearest_even),
        cmocka_unit_test(values_beyond_the_largest_half_become_infinite),
        cmocka_unit_test(tiny_values_become_subnormal_halves_or_zero),
        cmocka_unit_test(nan_stays_nan_even_when_its_payload_is_cut),
        cmocka_unit_test(convert_handles_every_pair_of_dtypes_at_any_address),
        cmocka_unit_test(arrays_are_converted_as_their_elements_are),
        cmocka_unit_test(the_first_element_that_is_not_finite_is_found_wherever_it_is),
        cmocka_unit_test(convert_refuses_quantised_dtypes_and_null),
        cmocka_unit_test(names_and_values_are_inverse),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
