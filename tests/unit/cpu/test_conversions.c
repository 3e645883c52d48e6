/* SPDX-License-Identifier: MIT */
#include "tests/unit/cpu/isas.h"

#include "common/core/convert.h"

enum { HALVES = 1 << 16 };

static void widening_is_exact_for_all_halves(void **state)
{
    const struct mglu_cpu_isa *isa = ISA_WITH_OWN(state, elementwise);
    static uint16_t halves[HALVES];
    static float wide[HALVES];

    for (uint32_t i = 0; i < HALVES; i++)
        halves[i] = (uint16_t)i;
    isa->elementwise->widen[MGLU_DTYPE_F16](halves, wide, HALVES);
    for (uint32_t i = 0; i < HALVES; i++)
        assert_true(same_bits(wide[i], mglu_f16_to_f32((uint16_t)i)));
    isa->elementwise->widen[MGLU_DTYPE_BF16](halves, wide, HALVES);
    for (uint32_t i = 0; i < HALVES; i++)
        assert_true(same_bits(wide[i], mglu_bf16_to_f32((uint16_t)i)));
}

/* From memory of exactly the right size at any alignment, for all lengths up to several groups. */
static void widening_pads_with_zeros_and_reads_nothing_more(void **state)
{
    const struct mglu_cpu_isa *isa = ISA_WITH_OWN(state, elementwise);

    for (mglu_dtype dtype = MGLU_DTYPE_F32; dtype <= MGLU_DTYPE_BF16; dtype++)
        for (size_t count = 0; count <= 100; count++) {
            size_t padded = (count + 31) / 32 * 32;
            char *source = malloc(1 + count * mglu_dtype_size(dtype));
            float target[129];
            for (size_t i = 0; i < count; i++)
                mglu_store_element(source + 1, dtype, i, (float)i + 1);
            target[padded] = -1;
            isa->elementwise->widen[dtype](source + 1, target, (int64_t)count);
            for (size_t i = 0; i < padded; i++)
                assert_true(target[i] == (i < count ? (float)i + 1 : 0));
            assert_true(target[padded] == -1);
            free(source);
        }
}

static void check_narrowing(const struct mglu_cpu_isa *isa, mglu_dtype dtype, const float *values, int64_t count)
{
    char *got = malloc(1 + (size_t)count * 4);

    isa->elementwise->narrow[dtype](values, got + 1, count);
    for (int64_t i = 0; i < count; i++) {
        uint32_t want = 0;
        uint32_t bits = 0;
        mglu_store_element(&want, dtype, 0, values[i] != values[i] ? mglu_f32_from_bits(0x7fc00000u) : values[i]);
        memcpy(&bits, got + 1 + (size_t)i * mglu_dtype_size(dtype), mglu_dtype_size(dtype));
        if (bits != want)
            fail_msg("%s of %a: got %x, want %x", mglu_dtype_name(dtype), (double)values[i], bits, want);
    }
    free(got);
}

/* All signs and exponents, with mantissas around every rounding boundary of f16 and bf16. */
static void narrowing_rounds_as_the_scalar_functions(void **state)
{
    static const uint32_t mantissas[] = {0,        1,        0xfff,    0x1000,   0x1001,   0x1fff,   0x2000,   0x3000,
                                         0x7fff,   0x8000,   0x8001,   0xffff,   0x10000,  0x18000,  0x3fffff, 0x400000,
                                         0x400001, 0x5fffff, 0x600000, 0x600001, 0x7fefff, 0x7ff000, 0x7fffff};
    const struct mglu_cpu_isa *isa = ISA_WITH_OWN(state, elementwise);
    static float values[512 * 32];
    int64_t count = 0;

    for (uint32_t exponent = 0; exponent < 512; exponent++)
        for (size_t m = 0; m < sizeof mantissas / sizeof mantissas[0]; m++)
            values[count++] = mglu_f32_from_bits(exponent << 23 | mantissas[m]);
    for (mglu_dtype dtype = MGLU_DTYPE_F32; dtype <= MGLU_DTYPE_BF16; dtype++) {
        check_narrowing(isa, dtype, values, count);
        for (int64_t length = 0; length < 40; length++)
            check_narrowing(isa, dtype, values, length);
    }
}

static void narrowing_rounds_random_values_as_the_scalar_functions(void **state)
{
    const struct mglu_cpu_isa *isa = ISA_WITH_OWN(state, elementwise);
    static float values[1 << 18];
    uint64_t seed = 1;

    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++)
        values[i] = mglu_f32_from_bits(next_random(&seed));
    for (mglu_dtype dtype = MGLU_DTYPE_F32; dtype <= MGLU_DTYPE_BF16; dtype++)
        check_narrowing(isa, dtype, values, sizeof values / sizeof values[0]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(widening_is_exact_for_all_halves),
        cmocka_unit_test(widening_pads_with_zeros_and_reads_nothing_more),
        cmocka_unit_test(narrowing_rounds_as_the_scalar_functions),
        cmocka_unit_test(narrowing_rounds_random_values_as_the_scalar_functions),
    };

    return run_on_isas(tests, sizeof tests / sizeof tests[0]);
}
