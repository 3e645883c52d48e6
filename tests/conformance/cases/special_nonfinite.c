/* SPDX-License-Identifier: MIT */
#include "cases/special.h"

#include <math.h>
#include <stdlib.h>

/* Rows 1 to 3: which formula, what is refused when weights are made, and NaN. */

static void all_ones(const struct trial *trial)
{
    struct problem problem = special_problem(trial, 0, PART_BIASES);

    fill_masks(&problem, 1);
    check_with_oracle(trial->target, &problem, trial->outcome);
    problem_free(&problem);
}

/* Makes weights that must be refused, or accepted when they are allowed to be non-finite. */
static void expect_weights(const struct trial *trial, struct problem *problem, mglu_status without_flag,
                           mglu_status with_flag)
{
    mglu_weights *weights = NULL;
    struct rig rig;

    if (mglu_supports(trial->target->device, &problem->weights, &problem->layer) == MGLU_ERROR_UNSUPPORTED) {
        if (open_rig(&rig, trial->target->device, problem, trial->outcome))
            rig_close(&rig);
        return;
    }
    problem->weights.flags = 0;
    outcome_expect(trial->outcome, "mglu_weights_create",
                   mglu_weights_create(trial->target->device, &problem->weights, &weights), without_flag);
    mglu_weights_destroy(&weights);
    problem->weights.flags = MGLU_WEIGHTS_ALLOW_NONFINITE;
    outcome_expect(trial->outcome, "mglu_weights_create with MGLU_WEIGHTS_ALLOW_NONFINITE",
                   mglu_weights_create(trial->target->device, &problem->weights, &weights), with_flag);
    mglu_weights_destroy(&weights);
}

/* A quantised matrix can't represent a NaN or an infinity: they are refused with any flag. */
static mglu_status with_flag(const struct trial *trial, bool is_matrix)
{
    return is_matrix && mglu_dtype_is_quantised(trial->dtypes->weight) ? MGLU_ERROR_NONFINITE : MGLU_OK;
}

/* One array of a small layer gets a last element that is not finite. Each kind of layer lacks one of the arrays. */
static void expect_array_refused(const struct trial *trial, mglu_kind kind, size_t array, float spoiler)
{
    const bool masked = kind == MGLU_KIND_MASKED;
    const struct shape shape = {.kind = kind,
                                .dtypes = trial->dtypes,
                                .h = 5,
                                .d = 4,
                                .out = 3,
                                .n_masks = masked ? 2 : 0,
                                .batch = 1,
                                .parts = PART_BIASES | (masked ? PART_ROUTER : 0)};
    struct problem problem = problem_make(&shape, trial->random);
    const size_t terms = masked ? 2 : 1;
    const struct {
        float *data;
        size_t count;
        bool is_matrix; /* of the stored dtype */
    } arrays[] = {{problem.weight, 4 * 5, true},          {problem.value_weight, 4 * 5, true},
                  {problem.router, terms * 5, false},     {problem.gate_bias, terms * 4, false},
                  {problem.value_bias, terms * 4, false}, {problem.down, 3 * 4, true},
                  {problem.down_bias, 3, false}};

    if (arrays[array].data) {
        arrays[array].data[arrays[array].count - 1] = spoiler;
        expect_weights(trial, &problem, MGLU_ERROR_NONFINITE, with_flag(trial, arrays[array].is_matrix));
    }
    problem_free(&problem);
}

static void refused(const struct trial *trial)
{
    enum { ARRAYS = 7 };
    static const float spoilers[] = {NAN, INFINITY, -INFINITY};

    for (size_t array = 0; array < ARRAYS; array++)
        for (size_t i = 0; i < sizeof spoilers / sizeof spoilers[0]; i++) {
            expect_array_refused(trial, MGLU_KIND_MASKED, array, spoilers[i]);
            expect_array_refused(trial, MGLU_KIND_PLAIN, array, spoilers[i]);
        }
}

/* The largest number that rounds to a finite one, or has a scale that does, and the smallest that does not. */
static void becomes_infinite(const struct trial *trial)
{
    static const float limits[][2] = {[MGLU_DTYPE_F32] = {0x1.fffffep+127f, INFINITY},
                                      [MGLU_DTYPE_F16] = {65519.996f, 65520.0f},
                                      [MGLU_DTYPE_BF16] = {0x1.fefffep+127f, 0x1.ffp+127f},
                                      [MGLU_DTYPE_Q8_0] = {127 * 65519.5f, 127 * 65520.0f},
                                      [MGLU_DTYPE_Q4_0] = {8 * 65519.996f, 8 * 65520.0f}};
    _Static_assert(MGLU_DTYPE_COUNT == 5, "a new dtype needs its limits here");
    struct problem problem = special_problem(trial, 0, 0);

    *weight_at(&problem, 8, 34) = limits[trial->dtypes->weight][0];
    expect_weights(trial, &problem, MGLU_OK, MGLU_OK);
    *weight_at(&problem, 8, 34) = -limits[trial->dtypes->weight][1];
    expect_weights(trial, &problem, MGLU_ERROR_NONFINITE, with_flag(trial, true));
    problem_free(&problem);
}

void expect_one_nan(const struct trial *trial, struct problem *problem, float *number, int64_t token, int64_t column)
{
    float kept = *number;
    unsigned char *clean, *spoiled;

    problem->weights.flags = MGLU_WEIGHTS_ALLOW_NONFINITE;
    clean = special_run(trial, problem);
    *number = NAN;
    spoiled = clean ? special_run(trial, problem) : NULL;
    *number = kept;
    if (spoiled && expect_nan(trial->outcome, problem, spoiled, token, column) && (token != ALL || column != ALL))
        expect_same(trial->outcome, problem, spoiled, clean, token, column, "without the NaN");
    free(clean);
    free(spoiled);
}

/* First, last and middle column, under every kind of mask. */
static void nan_in_x(const struct trial *trial)
{
    static const int64_t columns[] = {0, 17, 34};

    for (int masks = 0; masks < 3; masks++)
        for (size_t i = 0; i < sizeof columns / sizeof columns[0]; i++) {
            struct problem problem = special_problem(trial, 0, PART_BIASES);
            if (masks < 2)
                fill_masks(&problem, (uint8_t)masks);
            expect_one_nan(trial, &problem, x_at(&problem, 1, columns[i]), 1, ALL);
            problem_free(&problem);
        }
}

static void nan_in_x_of_a_block(const struct trial *trial)
{
    struct problem problem = special_problem(trial, 7, PART_BIASES | PART_ROUTER | PART_RESIDUAL);

    problem.layer.top_k = 2;
    expect_one_nan(trial, &problem, x_at(&problem, 2, 34), 2, ALL);
    problem_free(&problem);
}

static void nan_in_x_of_a_plain_layer(const struct trial *trial)
{
    const struct shape shape = {
        .kind = MGLU_KIND_PLAIN, .dtypes = trial->dtypes, .activation = trial->activation, .h = 35, .d = 9, .batch = 3};
    struct problem problem = problem_make(&shape, trial->random);

    expect_one_nan(trial, &problem, x_at(&problem, 0, 3), 0, ALL);
    problem.weights.flags = MGLU_WEIGHTS_ALLOW_NONFINITE;
    expect_one_nan(trial, &problem, weight_at(&problem, 4, 33), ALL, 4);
    expect_one_nan(trial, &problem, problem.value_weight + 8 * 35, ALL, 8);
    problem_free(&problem);
}

/* In the gate of one layer, in the value of the other. */
static void nan_in_w(const struct trial *trial)
{
    for (uint8_t side = 0; side < 2; side++) {
        struct problem problem = special_problem(trial, 0, PART_BIASES);
        for (int32_t i = 0; i < 3; i++)
            *mask_at(&problem, i, 8, 34) = side;
        expect_one_nan(trial, &problem, weight_at(&problem, 8, 34), ALL, 8);
        problem_free(&problem);
    }
}

static void nan_in_other_parts(const struct trial *trial)
{
    struct problem problem = special_problem(trial, 0, PART_BIASES);

    expect_one_nan(trial, &problem, problem.gate_bias + 2 * 9 + 7, ALL, 7);
    expect_one_nan(trial, &problem, problem.value_bias + 1 * 9 + 8, ALL, 8);
    problem_free(&problem);
    problem = special_problem(trial, 7, PART_BIASES | PART_RESIDUAL);
    expect_one_nan(trial, &problem, problem.down + 6 * 9 + 8, ALL, 6);
    expect_one_nan(trial, &problem, problem.down_bias + 5, ALL, 5);
    expect_one_nan(trial, &problem, weight_at(&problem, 0, 0), ALL, ALL);
    problem_free(&problem);
}

static void nan_in_the_residual(const struct trial *trial)
{
    struct problem problem = special_problem(trial, 0, PART_RESIDUAL);
    unsigned char *y;

    problem.residual[1 * 9 + 4] = NAN;
    y = special_run(trial, &problem);
    for (int64_t at = 0; y && at < 3 * 9; at++)
        if (isnan(y_at(&problem, y, at / 9, at % 9)) != (at == 1 * 9 + 4))
            outcome_set(trial->outcome, VERDICT_FAIL, "y[%d][%d]: NaN where the residual is, and only there",
                        (int)(at / 9), (int)(at % 9));
    free(y);
    problem_free(&problem);
}

const struct special_check nonfinite_checks[] = {
    {"01-all-ones-mask", PER_DTYPE | PER_ACTIVATION | QUANTISED, all_ones},
    {"02-refused", PER_DTYPE | QUANTISED, refused},
    {"02-becomes-infinite", PER_DTYPE | QUANTISED, becomes_infinite},
    {"03-nan-in-x", PER_DTYPE | PER_ACTIVATION | QUANTISED, nan_in_x},
    {"03-nan-in-x-of-a-block", PER_DTYPE | PER_ACTIVATION | QUANTISED, nan_in_x_of_a_block},
    {"03-nan-in-a-plain-layer", PER_DTYPE | PER_ACTIVATION, nan_in_x_of_a_plain_layer},
    {"03-nan-in-w", PER_DTYPE | PER_ACTIVATION, nan_in_w},
    {"03-nan-in-other-parts", PER_DTYPE, nan_in_other_parts},
    {"03-nan-in-the-residual", PER_DTYPE, nan_in_the_residual},
    {NULL, 0, NULL},
};
