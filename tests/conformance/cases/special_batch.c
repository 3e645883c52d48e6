/* SPDX-License-Identifier: MIT */
#include "cases/special.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>

/*
 * Rows 3 to 5 in a batch of long rows, where backends use other kernels: the numbers that these cannot compute are few
 * among many that they can.
 */

enum { H = 400, D = 37, TOKENS = 20 };

/* Weights of fewer bits than x has, as most models are computed. */
static const struct dtypes mixed_sets[] = {
    {"f16-f32-f32", MGLU_DTYPE_F16, MGLU_DTYPE_F32, MGLU_DTYPE_F32, 0},
    {"bf16-f32-f32", MGLU_DTYPE_BF16, MGLU_DTYPE_F32, MGLU_DTYPE_F32, 0},
};

/* n_masks = 0: a plain layer. With `out` z is as long as x is otherwise. */
static struct problem batch_problem(const struct trial *trial, int32_t n_masks, int64_t out)
{
    const struct shape shape = {.kind = n_masks ? MGLU_KIND_MASKED : MGLU_KIND_PLAIN,
                                .dtypes = trial->dtypes,
                                .activation = trial->activation,
                                .h = out ? D : H,
                                .d = out ? H : D,
                                .out = out,
                                .n_masks = n_masks,
                                .batch = TOKENS};
    struct problem problem = problem_make(&shape, trial->random);

    problem.weights.flags = MGLU_WEIGHTS_ALLOW_NONFINITE;
    return problem;
}

static void nan_in_a_batch(const struct trial *trial)
{
    for (int32_t n_masks = 0; n_masks <= 2; n_masks++) {
        struct problem problem = batch_problem(trial, n_masks, 0);
        expect_one_nan(trial, &problem, x_at(&problem, 17, H - 1), 17, ALL);
        expect_one_nan(trial, &problem, weight_at(&problem, D - 1, 300), ALL, D - 1);
        problem_free(&problem);
    }
}

static void nan_in_a_batch_with_routing(const struct trial *trial)
{
    const struct shape shape = {.dtypes = trial->dtypes,
                                .activation = trial->activation,
                                .h = H,
                                .d = D,
                                .n_masks = 4,
                                .batch = TOKENS,
                                .parts = PART_ROUTER};
    struct problem problem = problem_make(&shape, trial->random);

    problem.layer.top_k = 2;
    expect_one_nan(trial, &problem, x_at(&problem, 3, 0), 3, ALL);
    problem_free(&problem);
}

static void nan_in_the_down_projection_of_a_batch(const struct trial *trial)
{
    struct problem problem = batch_problem(trial, 2, D);

    expect_one_nan(trial, &problem, problem.down + 5 * H + 399, ALL, 5);
    expect_one_nan(trial, &problem, x_at(&problem, TOKENS - 1, 2), TOKENS - 1, ALL);
    problem_free(&problem);
}

static void infinity_in_a_batch(const struct trial *trial)
{
    for (uint8_t side = 0; side < 2; side++) {
        struct problem problem = batch_problem(trial, 1, 0);
        for (int64_t r = 0; r < D; r += 12) {
            *weight_at(&problem, r, r + 331) = r % 24 ? INFINITY : -INFINITY;
            *mask_at(&problem, 0, r, r + 331) = side;
        }
        run_and_expect_ieee(trial, &problem, side == 1);
        problem_free(&problem);
    }
}

static void infinity_in_x_of_a_batch(const struct trial *trial)
{
    struct problem problem = batch_problem(trial, 1, 0);

    *x_at(&problem, 18, 31) = -INFINITY;
    *x_at(&problem, 2, H - 1) = INFINITY;
    run_and_expect_ieee(trial, &problem, true);
    problem_free(&problem);
}

/* The largest f32, with weights that make the gates large and finite. */
static void expect_large_gates(const struct trial *trial)
{
    struct problem problem = batch_problem(trial, 1, 0);

    for (int64_t r = 0; r < D; r++) {
        *weight_at(&problem, r, 7) = r % 2 ? 0x1p-24f : -0x1p-24f;
        *mask_at(&problem, 0, r, 7) = 1;
    }
    *x_at(&problem, 9, 7) = FLT_MAX;
    *x_at(&problem, 19, 7) = -FLT_MAX;
    unsigned char *y = special_run(trial, &problem);
    for (int64_t r = 0; y && r < D; r++)
        for (int64_t token = 9; token < TOKENS; token += 10)
            if (!isfinite(y_at(&problem, y, token, r)))
                outcome_set(trial->outcome, VERDICT_FAIL, "y[%d][%d] = %g: finite data overflowed", (int)token, (int)r,
                            (double)y_at(&problem, y, token, r));
    free(y);
    check_with_oracle(trial->target, &problem, trial->outcome);
    problem_free(&problem);
}

static void for_mixed_sets(const struct trial *trial, void (*check)(const struct trial *trial))
{
    for (size_t i = 0; i < sizeof mixed_sets / sizeof mixed_sets[0]; i++) {
        struct trial mixed = *trial;
        mixed.dtypes = &mixed_sets[i];
        check(&mixed);
    }
}

static void largest_numbers_in_a_batch(const struct trial *trial)
{
    for_mixed_sets(trial, expect_large_gates);
}

static void infinity_in_a_batch_of_f32(const struct trial *trial)
{
    for_mixed_sets(trial, infinity_in_a_batch);
    for_mixed_sets(trial, infinity_in_x_of_a_batch);
}

const struct special_check batch_checks[] = {
    {"03-nan-in-a-batch", PER_DTYPE, nan_in_a_batch},
    {"03-nan-in-a-batch-with-routing", PER_DTYPE, nan_in_a_batch_with_routing},
    {"03-nan-in-the-down-projection-of-a-batch", PER_DTYPE, nan_in_the_down_projection_of_a_batch},
    {"04-infinity-in-a-batch", PER_DTYPE, infinity_in_a_batch},
    {"05-infinity-in-x-of-a-batch", PER_DTYPE, infinity_in_x_of_a_batch},
    {"05-infinity-in-a-batch-of-f32", 0, infinity_in_a_batch_of_f32},
    {"05-largest-numbers-in-a-batch", 0, largest_numbers_in_a_batch},
    {NULL, 0, NULL},
};
