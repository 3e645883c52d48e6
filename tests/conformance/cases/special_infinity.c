/* SPDX-License-Identifier: MIT */
#include "cases/special.h"

#include <math.h>
#include <stdlib.h>

/* Rows 4 to 7: infinities in W and x, 0 * Inf, and the activations at their limits. */

/* One token, and several, for which backends have other kernels. */
static const int64_t batches[] = {1, 3};

static void for_batches(const struct trial *trial, void (*check)(const struct trial *trial, int64_t batch))
{
    for (size_t i = 0; i < sizeof batches / sizeof batches[0]; i++)
        check(trial, batches[i]);
}

/* One mask and no bias, so that each element has one gate and one value. */
static struct problem one_mask(const struct trial *trial, int64_t batch)
{
    const struct shape shape = {
        .dtypes = trial->dtypes, .activation = trial->activation, .h = 35, .d = 9, .n_masks = 1, .batch = batch};
    struct problem problem = problem_make(&shape, trial->random);

    problem.weights.flags = MGLU_WEIGHTS_ALLOW_NONFINITE;
    return problem;
}

/* Where a finite value is allowed too, T is infinite and gives no tolerance: one hundredth detects a wrong number. */
static void expect_ieee(const struct trial *trial, const struct problem *problem, const unsigned char *got,
                        bool may_be_nan)
{
    struct oracle oracle;
    struct rig rig;
    bool asked;

    if (!open_rig(&rig, trial->target->device, problem, trial->outcome))
        return;
    asked = compute_oracle(&oracle, trial->target, problem, mglu_layer_accuracy(rig.layer), trial->outcome);
    rig_close(&rig);
    if (!asked)
        return;
    for (int64_t at = 0; at < problem->batch * problem->columns; at++) {
        int64_t row = at / problem->columns, column = at % problem->columns;
        double value = (double)y_at(problem, got, row, column), want = oracle.want[at];
        bool is_close = isfinite(want) && isfinite(oracle.tolerance[at])
                            ? fabs(value - want) <= oracle.tolerance[at]
                            : isfinite(want) && fabs(value - want) <= 0.01 * (1 + fabs(want));
        if (!is_close && !(may_be_nan && isnan(value)))
            expect_value(trial->outcome, problem, got, row, column, want);
    }
    free_oracle(&oracle);
}

void run_and_expect_ieee(const struct trial *trial, const struct problem *problem, bool may_be_nan)
{
    unsigned char *y = special_run(trial, problem);

    if (y)
        expect_ieee(trial, problem, y, may_be_nan);
    free(y);
}

/* An infinity that the mask excludes must not reach the gate. */
static void check_infinity_on_the_value_side(const struct trial *trial, int64_t batch)
{
    for (int sign = -1; sign <= 1; sign += 2) {
        struct problem problem = one_mask(trial, batch);
        for (int64_t r = 0; r < 9; r += 2) {
            *weight_at(&problem, r, r + 26) = sign * INFINITY;
            *mask_at(&problem, 0, r, r + 26) = 0;
        }
        run_and_expect_ieee(trial, &problem, false);
        problem_free(&problem);
    }
}

static void infinity_on_the_value_side(const struct trial *trial)
{
    for_batches(trial, check_infinity_on_the_value_side);
}

static void check_infinity_on_the_gate_side(const struct trial *trial, int64_t batch)
{
    for (int sign = -1; sign <= 1; sign += 2) {
        struct problem problem = one_mask(trial, batch);
        for (int64_t r = 0; r < 9; r += 2) {
            *weight_at(&problem, r, 34) = sign * INFINITY;
            *mask_at(&problem, 0, r, 34) = 1;
        }
        run_and_expect_ieee(trial, &problem, true);
        problem_free(&problem);
    }
}

static void infinity_on_the_gate_side(const struct trial *trial)
{
    for_batches(trial, check_infinity_on_the_gate_side);
}

static void check_infinity_in_x(const struct trial *trial, int64_t batch)
{
    static const int64_t columns[] = {0, 31, 34};

    for (int sign = -1; sign <= 1; sign += 2)
        for (size_t i = 0; i < sizeof columns / sizeof columns[0]; i++) {
            struct problem problem = one_mask(trial, batch);
            unsigned char *clean = special_run(trial, &problem), *y = NULL;
            *x_at(&problem, batch / 2, columns[i]) = sign * INFINITY;
            if (clean)
                y = special_run(trial, &problem);
            if (y && expect_same(trial->outcome, &problem, y, clean, batch / 2, NONE, "without the infinity"))
                expect_ieee(trial, &problem, y, true);
            free(clean);
            free(y);
            problem_free(&problem);
        }
}

static void infinity_in_x(const struct trial *trial)
{
    for_batches(trial, check_infinity_in_x);
}

/* T is 2^125, all of it in the gate or all of it in the value. */
static void large_numbers(const struct trial *trial)
{
    for (uint8_t side = 0; side < 2; side++) {
        const struct shape shape = {.dtypes = trial->dtypes,
                                    .activation = trial->activation,
                                    .h = 32,
                                    .d = 2,
                                    .n_masks = 1,
                                    .batch = 1,
                                    .parts = PART_BIASES};
        struct problem problem = problem_make(&shape, trial->random);
        double large = trial->dtypes->x == MGLU_DTYPE_F16 ? 0x1p+30 : 0x1p+125;
        fill_floats(problem.x, 32, trial->dtypes->x == MGLU_DTYPE_F16 ? 0x1p+12f : 0x1p+60f);
        fill_floats(problem.weight, 32, trial->dtypes->x == MGLU_DTYPE_F16 ? 0x1p+13f : 0x1p+60f);
        fill_floats(problem.weight + 32, 32, trial->dtypes->x == MGLU_DTYPE_F16 ? -0x1p+13f : -0x1p+60f);
        fill_floats(problem.gate_bias, 2, side ? 0 : 1);
        fill_floats(problem.value_bias, 2, side ? 1 : 0);
        fill_masks(&problem, side);
        unsigned char *y = special_run(trial, &problem);
        for (int64_t r = 0; y && r < 2; r++)
            if (trial->dtypes->y != MGLU_DTYPE_F16 && !(fabs((double)y_at(&problem, y, 0, r)) <= 2 * large))
                outcome_set(trial->outcome, VERDICT_FAIL, "y[0][%d] = %.9g: finite data overflowed", (int)r,
                            (double)y_at(&problem, y, 0, r));
        free(y);
        check_with_oracle(trial->target, &problem, trial->outcome);
        problem_free(&problem);
    }
}

/* 0 in x times an infinite weight, and 0 in W times an infinite x. */
static void check_zero_times_infinity(const struct trial *trial, int64_t batch)
{
    for (uint8_t side = 0; side < 2; side++) {
        struct problem problem = one_mask(trial, batch);
        *mask_at(&problem, 0, 3, 33) = side;
        *weight_at(&problem, 3, 33) = INFINITY;
        for (int64_t token = 0; token < batch; token++)
            *x_at(&problem, token, 33) = 0;
        unsigned char *y = special_run(trial, &problem);
        if (y)
            expect_nan(trial->outcome, &problem, y, ALL, 3);
        free(y);
        *x_at(&problem, batch / 2, 33) = INFINITY;
        *weight_at(&problem, 3, 33) = 0;
        y = special_run(trial, &problem);
        if (y)
            expect_nan(trial->outcome, &problem, y, batch / 2, 3);
        free(y);
        problem_free(&problem);
    }
}

static void zero_times_infinity(const struct trial *trial)
{
    for_batches(trial, check_zero_times_infinity);
}

static void limits(const struct trial *trial)
{
    static const double at[ACTIVATIONS][2] = {
        [MGLU_ACTIVATION_SILU] = {0, INFINITY},      [MGLU_ACTIVATION_GELU_ERF] = {0, INFINITY},
        [MGLU_ACTIVATION_GELU_TANH] = {0, INFINITY}, [MGLU_ACTIVATION_RELU] = {0, INFINITY},
        [MGLU_ACTIVATION_SIGMOID] = {0, 1},          [MGLU_ACTIVATION_IDENTITY] = {-INFINITY, INFINITY},
    };
    _Static_assert(ACTIVATIONS == 6, "a new activation needs its limits here");
    static const float betas[] = {1, 0.25f, -1};
    static const float gates[] = {-INFINITY, INFINITY, NAN}, values[] = {1, 1, 1};

    for (size_t i = 0; i < (trial->activation == MGLU_ACTIVATION_SILU ? 3 : 1); i++) {
        struct problem problem = bias_problem(trial, gates, values, 3);
        bool negative_beta = betas[i] < 0;
        problem.layer.silu_beta = trial->activation == MGLU_ACTIVATION_SILU ? betas[i] : 0;
        unsigned char *y = special_run(trial, &problem);
        if (y && negative_beta) {
            expect_value(trial->outcome, &problem, y, 0, 0, -INFINITY);
            expect_value(trial->outcome, &problem, y, 0, 1, 0);
        } else if (y) {
            expect_value(trial->outcome, &problem, y, 0, 0, at[trial->activation][0]);
            expect_value(trial->outcome, &problem, y, 0, 1, at[trial->activation][1]);
        }
        if (y)
            expect_nan(trial->outcome, &problem, y, 0, 2);
        free(y);
        problem_free(&problem);
    }
}

/* Gates of every magnitude, also where exponentials, squares and cubes overflow. */
static void finite_gates(const struct trial *trial)
{
    static const float sizes[] = {0,      0x1p-149f, 0x1p-126f,       1e-30f,  1e-8f,    0.5f,  0.752f, 1.278f,
                                  5.5f,   9.1f,      13.6f,           17.3f,   30.0f,    87.4f, 88.8f,  103.9f,
                                  104.1f, 127.5f,    710.0f,          4097.0f, 65504.0f, 1e10f, 1e13f,  1.9e19f,
                                  1e30f,  3e38f,     0x1.fffffep+127f};
    enum { SIZES = sizeof sizes / sizeof sizes[0] };
    float gates[2 * SIZES], values[2 * SIZES];

    for (size_t i = 0; i < 2 * SIZES; i++) {
        gates[i] = i < SIZES ? sizes[i] : -sizes[i - SIZES];
        values[i] = 0.125f;
    }
    for (int beta = -4; beta <= 4; beta += 4) {
        struct problem problem = bias_problem(trial, gates, values, 2 * SIZES);
        problem.layer.silu_beta = trial->activation == MGLU_ACTIVATION_SILU ? (float)beta : 0;
        check_with_oracle(trial->target, &problem, trial->outcome);
        problem_free(&problem);
    }
}

const struct special_check infinity_checks[] = {
    {"04-infinity-on-the-value-side", PER_DTYPE | PER_ACTIVATION, infinity_on_the_value_side},
    {"04-infinity-on-the-gate-side", PER_DTYPE | PER_ACTIVATION, infinity_on_the_gate_side},
    {"05-infinity-in-x", PER_DTYPE | QUANTISED | PER_ACTIVATION, infinity_in_x},
    {"05-large-numbers", PER_DTYPE | PER_ACTIVATION, large_numbers},
    {"06-zero-times-infinity", PER_DTYPE | PER_ACTIVATION, zero_times_infinity},
    {"07-activation-limits", PER_DTYPE | PER_ACTIVATION, limits},
    {"07-finite-gates", PER_DTYPE | PER_ACTIVATION, finite_gates},
    {NULL, 0, NULL},
};
