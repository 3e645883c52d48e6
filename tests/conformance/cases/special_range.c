/* SPDX-License-Identifier: MIT */
#include "cases/special.h"

#include <math.h>
#include <stdlib.h>

/* Rows 1, 8 to 10, 17 and 19, and the rounding of y: numbers at the limits of a dtype, and exactly known results. */

/* y = 1 * values, with the identity: tests the store alone. */
static void expect_stored(const struct trial *trial, const float *values, const double *want, int64_t count)
{
    float ones[64];

    fill_floats(ones, (size_t)count, 1);
    struct problem problem = bias_problem(trial, ones, values, count);
    unsigned char *y = special_run(trial, &problem);
    for (int64_t i = 0; y && i < count; i++)
        expect_value(trial->outcome, &problem, y, 0, i, want[i]);
    free(y);
    problem_free(&problem);
}

/* Between two neighbours of y's dtype: below the middle, in the middle of an even and an odd one, above the middle. */
static void rounding(const struct trial *trial)
{
    static const double steps[] = {[MGLU_DTYPE_F32] = 0, [MGLU_DTYPE_F16] = 0x1p-10, [MGLU_DTYPE_BF16] = 0x1p-7};
    const double step = steps[trial->dtypes->y], hair = 0x1p-10;
    const double between[] = {0.25, 0.5 - hair, 0.5, 0.5 + hair, 0.75, 1.5 - hair, 1.5, 1.5 + hair};
    const double rounded[] = {0, 0, 0, 1, 1, 1, 2, 2};
    float values[16];
    double want[16];

    for (int i = 0; i < 16; i++) {
        int sign = i < 8 ? 1 : -1;
        values[i] = (float)(sign * (1 + between[i % 8] * step));
        want[i] = step > 0 ? sign * (1 + rounded[i % 8] * step) : (double)values[i];
    }
    expect_stored(trial, values, want, 16);
}

static void f16_overflow(const struct trial *trial)
{
    static const float values[] = {65504, 65519, 65519.996f, 65520, -65519.996f, -65520, 65536, -1e6f, 1e30f};
    static const double want[] = {65504, 65504, 65504, INFINITY, -65504, -INFINITY, INFINITY, -INFINITY, INFINITY};

    expect_stored(trial, values, want, sizeof values / sizeof values[0]);
}

/* The residual makes y overflow. */
static void f16_overflow_by_the_residual(const struct trial *trial)
{
    static const float ones[] = {1, 1, 1}, values[] = {15, 16, -16}, residual[] = {65504, 65504, -65504};
    static const double want[] = {65504, INFINITY, -INFINITY};
    struct problem problem = bias_problem(trial, ones, values, 3);
    unsigned char *y;

    problem.residual = problem_allocate(&problem, sizeof residual);
    for (size_t i = 0; i < 3; i++)
        problem.residual[i] = residual[i];
    y = special_run(trial, &problem);
    for (int64_t i = 0; y && i < 3; i++)
        expect_value(trial->outcome, &problem, y, 0, i, want[i]);
    free(y);
    problem_free(&problem);
}

/* Zeros of either sign are the same number, made from negative and positive factors. */
static void sign_of_zero(const struct trial *trial)
{
    static const float gates[] = {0, -0.0f, 0, -0.0f, 3, -3}, values[] = {5, 5, -5, -5, -0.0f, 0};

    struct problem problem = bias_problem(trial, gates, values, 6);
    unsigned char *y = special_run(trial, &problem);

    for (int64_t i = trial->activation == MGLU_ACTIVATION_SIGMOID ? 4 : 0; y && i < 6; i++)
        expect_value(trial->outcome, &problem, y, 0, i, 0);
    free(y);
    problem_free(&problem);
}

/* One column, mask 0, gate 1: y = w x to the bit. */
static void expect_product(const struct trial *trial, float w, float x, double want)
{
    const struct shape shape = {.dtypes = trial->dtypes,
                                .activation = MGLU_ACTIVATION_IDENTITY,
                                .h = 1,
                                .d = 1,
                                .n_masks = 1,
                                .batch = 1,
                                .parts = PART_BIASES};
    struct problem problem = problem_make(&shape, trial->random);
    unsigned char *y;

    *problem.weight = w;
    *problem.x = x;
    *problem.masks = 0;
    *problem.gate_bias = 1;
    *problem.value_bias = 0;
    y = special_run(trial, &problem);
    if (y)
        expect_value(trial->outcome, &problem, y, 0, 0, want);
    free(y);
    problem_free(&problem);
}

static void f16_subnormals(const struct trial *trial)
{
    static const struct {
        float w, x;
    } cases[] = {
        {0x1p-24f, 1}, {0x1p-24f, 1024}, {0x1.8p-23f, 3}, {2, 0x1p-24f}, {-4, 0x1.ffp-16f}, {0x1p-12f, 0x1p-11f},
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        expect_product(trial, cases[i].w, cases[i].x, (double)cases[i].w * (double)cases[i].x);
}

/* y in f16 in the subnormal range: every value, and the ties between them. */
static void f16_subnormal_results(const struct trial *trial)
{
    static const float values[] = {0x1p-24f,   0x1.8p-24f, 0x1p-25f,     0x1.002p-25f, 0x1.4p-23f,
                                   0x1.cp-23f, 0x1p-15f,   0x1.ff8p-15f, 0x1.ffcp-15f, -0x1.8p-20f};
    static const double want[] = {0x1p-24, 0x1p-23, 0,           0x1p-24, 0x1p-23,
                                  0x1p-22, 0x1p-15, 0x1.ff8p-15, 0x1p-14, -0x1.8p-20};

    expect_stored(trial, values, want, sizeof values / sizeof values[0]);
}

/* Products around 2^-110, among subnormal weights and inputs. */
static void tiny_numbers(const struct trial *trial)
{
    struct problem problem = special_problem(trial, 0, PART_BIASES);

    for (size_t i = 0; i < 9 * 35; i++)
        problem.weight[i] *= i % 3 ? 0x1p-54f : 0x1p-130f;
    for (size_t i = 0; i < 3 * 35; i++)
        problem.x[i] *= i % 4 ? 0x1p-54f : 0x1p-128f;
    fill_floats(problem.gate_bias, 3 * 9, 1);
    fill_floats(problem.value_bias, 3 * 9, 0);
    check_with_oracle(trial->target, &problem, trial->outcome);
    problem_free(&problem);
}

/* Tokens whose x are far larger or smaller than others', too far apart for the f32 scales of 8-bit groups. */
static void check_far_apart(const struct trial *trial, int64_t batch)
{
    static const float sizes[] = {1, 0x1p100f, 0x1p-100f};
    const struct shape shape = {.dtypes = trial->dtypes,
                                .activation = trial->activation,
                                .h = 35,
                                .d = 9,
                                .n_masks = 3,
                                .batch = batch,
                                .parts = PART_BIASES};
    struct problem problem = problem_make(&shape, trial->random);

    for (int64_t token = 0; token < batch; token++)
        for (int64_t column = 0; column < 35; column++)
            *x_at(&problem, token, column) *= sizes[token % 3];
    fill_masks(&problem, 0);
    fill_floats(problem.gate_bias, 3 * 9, 1);
    fill_floats(problem.value_bias, 3 * 9, 0);
    check_with_oracle(trial->target, &problem, trial->outcome);
    problem_free(&problem);
}

static void tokens_far_apart(const struct trial *trial)
{
    check_far_apart(trial, 3);
}

/* Where kernels for batches compute all tokens at once. */
static void batch_far_apart(const struct trial *trial)
{
    check_far_apart(trial, 11);
}

/* Decoding, with numbers of masks for which backends have kernels of their own; none: a plain layer. */
static void one_token(const struct trial *trial)
{
    static const int32_t mask_counts[] = {0, 1, 2, 3, 4, 5, 8, 9, 12, 16};

    for (size_t i = 0; i < sizeof mask_counts / sizeof mask_counts[0]; i++) {
        const struct shape shape = {.kind = mask_counts[i] ? MGLU_KIND_MASKED : MGLU_KIND_PLAIN,
                                    .dtypes = trial->dtypes,
                                    .activation = trial->activation,
                                    .h = 291,
                                    .d = 19,
                                    .out = 7,
                                    .n_masks = mask_counts[i],
                                    .batch = 1,
                                    .parts = PART_BIASES};
        struct problem problem = problem_make(&shape, trial->random);
        check_with_oracle(trial->target, &problem, trial->outcome);
        problem_free(&problem);
    }
}

/* As many tokens as fill vectors of 8 and 16, in rows that kernels for batches divide into panels of 512 columns. */
static void full_vectors_of_tokens(const struct trial *trial)
{
    const struct shape shape = {.dtypes = trial->dtypes,
                                .activation = trial->activation,
                                .h = 600,
                                .d = 9,
                                .n_masks = 3,
                                .batch = 32,
                                .parts = PART_BIASES};
    struct problem problem = problem_make(&shape, trial->random);

    check_with_oracle(trial->target, &problem, trial->outcome);
    problem_free(&problem);
}

static void trivial_masks(const struct trial *trial)
{
    for (uint8_t bit = 0; bit < 2; bit++) {
        struct problem problem = special_problem(trial, 0, PART_BIASES);
        fill_masks(&problem, bit);
        check_with_oracle(trial->target, &problem, trial->outcome);
        problem_free(&problem);
    }
}

/*
 * Column 0 is 1 in the gate, column 1 is 1 in the value, x = e0 + 2 e1 + e_k: every bit of the mask and every weight is
 * visible in y, as 2 (1 + w) where the mask has a one and 2 + w where it has not.
 */
static void probes(const struct trial *trial)
{
    enum { H = 67, D = 5 };
    const struct shape shape = {
        .dtypes = trial->dtypes, .activation = MGLU_ACTIVATION_IDENTITY, .h = H, .d = D, .n_masks = 1, .batch = H - 2};
    struct problem problem = problem_make(&shape, trial->random);
    struct random random = trial->random;
    unsigned char *y;

    fill_floats(problem.x, (size_t)(problem.batch * H), 0);
    for (int64_t k = 2; k < H; k++)
        *x_at(&problem, k - 2, 0) = 1, *x_at(&problem, k - 2, 1) = 2, *x_at(&problem, k - 2, k) = 1;
    for (int64_t r = 0; r < D; r++) {
        for (int64_t k = 2; k < H; k++)
            *weight_at(&problem, r, k) = (float)(1 + random_u64(&random) % 6) / 4;
        *weight_at(&problem, r, 0) = *weight_at(&problem, r, 1) = 1;
        *mask_at(&problem, 0, r, 0) = 1;
        *mask_at(&problem, 0, r, 1) = 0;
    }
    y = special_run(trial, &problem);
    for (int64_t at = 0; y && at < problem.batch * D; at++) {
        double w = (double)*weight_at(&problem, at % D, at / D + 2);
        double want = *mask_at(&problem, 0, at % D, at / D + 2) ? 2 * (1 + w) : 2 + w;
        expect_value(trial->outcome, &problem, y, at / D, at % D, want);
    }
    free(y);
    problem_free(&problem);
}

/* Products that cancel except for their rounding errors: fused and unfused results differ, and both are right. */
static void contraction(const struct trial *trial)
{
    const struct shape shape = {.dtypes = trial->dtypes,
                                .activation = trial->activation,
                                .h = 64,
                                .d = 4,
                                .n_masks = 2,
                                .batch = 2,
                                .parts = PART_BIASES};
    struct problem problem = problem_make(&shape, trial->random);

    for (int64_t r = 0; r < 4; r++)
        for (int64_t c = 0; c < 32; c++)
            *weight_at(&problem, r, c + 32) = -*weight_at(&problem, r, c);
    for (int64_t token = 0; token < 2; token++)
        for (int64_t c = 0; c < 32; c++)
            *x_at(&problem, token, c + 32) = *x_at(&problem, token, c);
    fill_masks(&problem, 1);
    check_with_oracle(trial->target, &problem, trial->outcome);
    problem_free(&problem);
}

const struct special_check range_checks[] = {
    {"00-rounding-of-y", PER_DTYPE, rounding},
    {"08-f16-overflow", PER_DTYPE | ONLY_F16_OUT, f16_overflow},
    {"08-f16-overflow-by-the-residual", PER_DTYPE | ONLY_F16_OUT, f16_overflow_by_the_residual},
    {"09-sign-of-zero", PER_DTYPE | PER_ACTIVATION, sign_of_zero},
    {"10-f16-subnormals", PER_DTYPE | ONLY_F16_IN, f16_subnormals},
    {"10-f16-subnormal-results", PER_DTYPE | ONLY_F16_OUT, f16_subnormal_results},
    {"10-tiny-numbers", PER_DTYPE | PER_ACTIVATION | ONLY_WIDE, tiny_numbers},
    {"10-tokens-far-apart", PER_DTYPE | QUANTISED | ONLY_WIDE, tokens_far_apart},
    {"10-batch-far-apart", PER_DTYPE | QUANTISED | ONLY_WIDE, batch_far_apart},
    {"01-one-token", PER_DTYPE | QUANTISED, one_token},
    {"01-batch-of-32", PER_DTYPE | QUANTISED, full_vectors_of_tokens},
    {"17-trivial-masks", PER_DTYPE | QUANTISED | PER_ACTIVATION, trivial_masks},
    {"17-probes", PER_DTYPE, probes},
    {"19-contraction", PER_DTYPE, contraction},
    {NULL, 0, NULL},
};
