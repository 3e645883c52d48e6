/* SPDX-License-Identifier: MIT */
#include "tests/unit/cpu/isas.h"

#include <float.h>
#include <math.h>

enum { HALVES = 1 << 16, SWEEP = TEST_IS_SLOW ? 1 << 16 : 1 << 20, STEP = (1u << 31) / (SWEEP / 2) };

#define UNIT 0x1p-24

struct activation {
    mglu_activation kind;
    float beta;
};

static const struct activation activations[] = {
    {MGLU_ACTIVATION_SILU, 1},      {MGLU_ACTIVATION_SILU, 1.702f}, {MGLU_ACTIVATION_SILU, -0.5f},
    {MGLU_ACTIVATION_SILU, 1e30f},  {MGLU_ACTIVATION_SILU, 1e-40f}, {MGLU_ACTIVATION_GELU_ERF, 0},
    {MGLU_ACTIVATION_GELU_TANH, 0}, {MGLU_ACTIVATION_RELU, 0},      {MGLU_ACTIVATION_SIGMOID, 0},
    {MGLU_ACTIVATION_IDENTITY, 0},
};

enum { ACTIVATION_COUNT = sizeof activations / sizeof activations[0] };

static double sigmoid(double g)
{
    return 1 / (1 + exp(-g));
}

static double expected(const struct activation *a, double g)
{
    switch (a->kind) {
    case MGLU_ACTIVATION_SILU:
        return g * sigmoid((double)a->beta * g);
    case MGLU_ACTIVATION_GELU_ERF:
        return g * erfc(-g * sqrt(0.5)) / 2;
    case MGLU_ACTIVATION_GELU_TANH:
        return g * sigmoid(2 * sqrt(2 / acos(-1.0)) * (g + 0.044715 * g * g * g));
    case MGLU_ACTIVATION_RELU:
        return g > 0 ? g : 0;
    case MGLU_ACTIVATION_SIGMOID:
        return sigmoid(g);
    case MGLU_ACTIVATION_IDENTITY:
        return g;
    }
    return NAN;
}

static double tolerance(const struct activation *a, double g, double want)
{
    switch (a->kind) {
    case MGLU_ACTIVATION_RELU:
    case MGLU_ACTIVATION_IDENTITY:
        return 0;
    case MGLU_ACTIVATION_SIGMOID:
        return 4 * UNIT * (1 + fabs(g)) * want + 0x1p-126;
    default:
        return 8 * UNIT * fabs(g) + 0x1p-126;
    }
}

static void activate(const struct mglu_cpu_isa *isa, const struct activation *a, float *values, int32_t count)
{
    isa->elementwise->activate[a->kind](values, count, a->beta);
}

static void every_activation_has_a_kernel_and_is_among_the_cases(void **state)
{
    const struct mglu_cpu_isa *isa = ISA_WITH_OWN(state, elementwise);

    for (int kind = 0; kind < MGLU_ACTIVATION_COUNT; kind++) {
        int i = 0;
        while (i < ACTIVATION_COUNT && activations[i].kind != (mglu_activation)kind)
            i++;
        assert_true(i < ACTIVATION_COUNT);
        assert_non_null(isa->elementwise->activate[kind]);
    }
}

/* All finite halves, all bf16 values, and every 4096th float, or every 65536th where that is slow. */
static int32_t inputs(const float **values)
{
    static float made[2 * HALVES + SWEEP];
    int32_t count = 0;

    for (uint32_t i = 0; i < HALVES; i++) {
        made[count++] = mglu_f16_to_f32((uint16_t)i);
        made[count++] = mglu_bf16_to_f32((uint16_t)i);
    }
    for (uint32_t i = 0; i < SWEEP; i++)
        made[count++] = mglu_f32_from_bits(i * STEP + i % STEP);
    *values = made;
    return count;
}

static float *activated(const struct mglu_cpu_isa *isa, const struct activation *a)
{
    const float *values;
    int32_t count = inputs(&values);
    float *got = malloc((size_t)count * sizeof(float));

    memcpy(got, values, (size_t)count * sizeof(float));
    activate(isa, a, got, count);
    return got;
}

static void activations_keep_the_error_bound(void **state)
{
    const struct mglu_cpu_isa *isa = ISA_WITH_OWN(state, elementwise);
    const float *values;
    int32_t count = inputs(&values);

    for (int a = 0; a < ACTIVATION_COUNT; a++) {
        float *got = activated(isa, &activations[a]);
        double worst = 0;
        for (int32_t i = 0; i < count; i++) {
            double g = (double)values[i];
            if (!isfinite(g))
                continue;
            double want = expected(&activations[a], g), bound = tolerance(&activations[a], g, want);
            double error = fabs((double)got[i] - want);
            if (!(error <= bound))
                fail_msg("%s(%a): got %a, want %a", mglu_activation_name(activations[a].kind), g, (double)got[i], want);
            if (bound > 0)
                worst = fmax(worst, error / bound);
        }
        print_message("%s beta %g: largest error %.2f of the bound\n", mglu_activation_name(activations[a].kind),
                      (double)activations[a].beta, worst);
        free(got);
    }
}

static void activations_have_the_same_bits_as_baseline(void **state)
{
    const struct mglu_cpu_isa *isa = ISA_WITH_OWN(state, elementwise);
    const float *values;
    int32_t count = inputs(&values);

    for (int a = 0; a < ACTIVATION_COUNT; a++) {
        float *want = activated(&mglu_cpu_isas[0], &activations[a]);
        float *got = activated(isa, &activations[a]);
        for (int32_t i = 0; i < count; i++)
            assert_true(same_bits(got[i], want[i]));
        for (int32_t length = 1; length < 40; length++) { /* the bits of an element don't depend on its index */
            float some[40];
            memcpy(some, values + 12345, sizeof some);
            activate(isa, &activations[a], some, length);
            for (int32_t i = 0; i < 40; i++)
                assert_true(same_bits(some[i], i < length ? want[12345 + i] : values[12345 + i]));
        }
        free(want);
        free(got);
    }
}

static float activate_one(const struct mglu_cpu_isa *isa, mglu_activation kind, float beta, float g)
{
    const struct activation a = {kind, beta};
    float values[16];

    for (int i = 0; i < 16; i++)
        values[i] = g;
    activate(isa, &a, values, 16);
    return values[7];
}

static void activations_take_their_limits_at_infinity(void **state)
{
    const struct mglu_cpu_isa *isa = ISA_WITH_OWN(state, elementwise);
    const struct {
        mglu_activation kind;
        float beta, at_minus, at_plus;
    } limits[] = {
        {MGLU_ACTIVATION_SILU, 1, 0, INFINITY},
        {MGLU_ACTIVATION_SILU, -2, -INFINITY, 0},
        {MGLU_ACTIVATION_GELU_ERF, 0, 0, INFINITY},
        {MGLU_ACTIVATION_GELU_TANH, 0, 0, INFINITY},
        {MGLU_ACTIVATION_RELU, 0, 0, INFINITY},
        {MGLU_ACTIVATION_SIGMOID, 0, 0, 1},
        {MGLU_ACTIVATION_IDENTITY, 0, -INFINITY, INFINITY},
    };

    for (size_t i = 0; i < sizeof limits / sizeof limits[0]; i++) {
        assert_true(activate_one(isa, limits[i].kind, limits[i].beta, -INFINITY) == limits[i].at_minus);
        assert_true(activate_one(isa, limits[i].kind, limits[i].beta, INFINITY) == limits[i].at_plus);
    }
}

static void nan_stays_nan_and_finite_stays_finite(void **state)
{
    static const uint32_t nans[] = {0x7fc00000u, 0xffc00000u, 0x7f800001u, 0x7fffffffu, 0xff800fffu};
    static const float large[] = {FLT_MAX, -FLT_MAX, 1e19f, -1e19f, 1e30f, -1e30f, FLT_MIN, 1e-45f};
    const struct mglu_cpu_isa *isa = ISA_WITH_OWN(state, elementwise);

    for (int a = 0; a < ACTIVATION_COUNT; a++) {
        for (size_t i = 0; i < sizeof nans / sizeof nans[0]; i++)
            assert_true(
                isnan(activate_one(isa, activations[a].kind, activations[a].beta, mglu_f32_from_bits(nans[i]))));
        for (size_t i = 0; i < sizeof large / sizeof large[0]; i++)
            assert_true(isfinite(activate_one(isa, activations[a].kind, activations[a].beta, large[i])));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_activation_has_a_kernel_and_is_among_the_cases),
        cmocka_unit_test(activations_keep_the_error_bound),
        cmocka_unit_test(activations_have_the_same_bits_as_baseline),
        cmocka_unit_test(activations_take_their_limits_at_infinity),
        cmocka_unit_test(nan_stays_nan_and_finite_stays_finite),
    };

    return run_on_isas(tests, sizeof tests / sizeof tests[0]);
}
