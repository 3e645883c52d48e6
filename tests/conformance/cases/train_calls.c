/* SPDX-License-Identifier: MIT */
#include "cases/train_calls.h"
#include "judge/train_bits.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* What a forward without saved, an empty batch and a NaN do. */

static const mglu_dtype both_dtypes[] = {MGLU_DTYPE_F32, MGLU_DTYPE_BF16};
enum { BOTH = 2, ALL_RESULTS = (1 << TRAIN_RESULTS) - 1 };

struct train_case whole_train_case(mglu_dtype dtype)
{
    return (struct train_case){.dtype = dtype,
                               .weight = dtype,
                               .n_masks = 3,
                               .top_k = 2,
                               .h = 77,
                               .d = 37,
                               .batch = 19,
                               .bias = BIAS_BOTH,
                               .form = MGLU_MASK_LOGITS_F32,
                               .wanted = ALL_RESULTS};
}

/* A forward for its y alone has the same. */
static void keeping_nothing_changes_nothing(const struct target *target, struct random random, struct outcome *outcome)
{
    for (int i = 0; i < BOTH && outcome->verdict == VERDICT_PASS; i++) {
        struct train_case test = whole_train_case(both_dtypes[i]);
        struct train_problem problem;
        struct train_rig rig;
        struct train_bits want, got;

        test.wanted = 0;
        train_problem_make(&problem, &test, random);
        if (train_open(&rig, target->device, &problem.desc, test.batch, outcome) &&
            train_step(&rig, &problem, NULL, outcome)) {
            mglu_train_forward_args args = train_forward_args(&rig, &problem, NULL);

            want = train_bits_read(&problem);
            train_problem_reset(&problem);
            args.saved = NULL;
            args.saved_size = 0;
            outcome_expect(outcome, "mglu_train_forward without saved", mglu_train_forward(rig.train, NULL, &args),
                           MGLU_OK);
            got = train_bits_read(&problem);
            train_bits_expect(&got, &want, "without saved", outcome);
            train_bits_free(&got);
            train_bits_free(&want);
        }
        train_close(&rig);
        train_problem_free(&problem);
    }
}

static bool all_are(const struct rows *rows, float value)
{
    for (int64_t i = 0; i < rows->count * rows->columns; i++) {
        float element;

        memcpy(&element, rows_at(rows, i / rows->columns) + (size_t)(i % rows->columns) * sizeof element,
               sizeof element);
        if (element != value)
            return false;
    }
    return true;
}

/* An empty batch: gradients of parameters are zeros, or, where they are accumulated, what they were. */
static void an_empty_batch_has_no_gradient(const struct target *target, struct random random, struct outcome *outcome)
{
    for (int accumulate = 0; accumulate < 2; accumulate++) {
        struct train_case test = whole_train_case(MGLU_DTYPE_F32);
        struct train_problem problem;
        struct train_rig rig;

        test.batch = 0;
        test.accumulate = accumulate;
        train_problem_make(&problem, &test, random);
        for (int i = TRAIN_DWEIGHT; i <= TRAIN_DVALUE_BIAS; i++) {
            float *numbers = problem.before[i];

            for (int64_t k = 0; numbers && k < problem.results[i].count * problem.results[i].columns; k++)
                numbers[k] = 3;
        }
        train_problem_reset(&problem);
        if (train_open(&rig, target->device, &problem.desc, 0, outcome) && train_step(&rig, &problem, NULL, outcome))
            for (int i = TRAIN_DWEIGHT; i <= TRAIN_DVALUE_BIAS; i++)
                if (!all_are(&problem.results[i], accumulate ? 3 : 0))
                    outcome_set(outcome, VERDICT_FAIL, "%s of an empty batch is not %d",
                                train_result_name((enum train_result)i), accumulate ? 3 : 0);
        train_close(&rig);
        train_problem_free(&problem);
    }
}

/* Whether a row has NaN in every column, or with `same` the bytes it had before. */
static void check_row(const struct rows *rows, int64_t row, const unsigned char *before, bool is_nan, mglu_dtype dtype,
                      const char *name, struct outcome *outcome)
{
    const size_t size = (size_t)rows->columns * rows->element;

    if (!is_nan && memcmp(rows_at(rows, row), before + (size_t)row * size, size) != 0)
        outcome_set(outcome, VERDICT_FAIL, "NaN in another token changed %s of token %lld", name, (long long)row);
    for (int64_t c = 0; is_nan && c < rows->columns; c++) {
        float value = 0;

        if (mglu_convert(rows_at(rows, row) + (size_t)c * rows->element, dtype, &value, MGLU_DTYPE_F32, 1) != MGLU_OK)
            exit(EXIT_FAILURE);
        if (!isnan(value))
            outcome_set(outcome, VERDICT_FAIL, "%s[%lld][%lld] is %g, must be NaN", name, (long long)row, (long long)c,
                        (double)value);
    }
}

enum { NAN_TOKEN = 5 };

/* Runs a step again with one NaN in an input of a token. */
static void expect_nan_token(const struct target *target, const struct train_case *test, struct random random,
                             bool in_router, struct outcome *outcome)
{
    const float nan = NAN;
    struct train_problem problem;
    struct train_rig rig;
    struct train_bits before;

    train_problem_make(&problem, test, random);
    if (train_open(&rig, target->device, &problem.desc, test->batch, outcome) &&
        train_step(&rig, &problem, NULL, outcome)) {
        struct rows *rows = in_router ? &problem.router_logits : &problem.x;
        const mglu_dtype dtype = in_router ? MGLU_DTYPE_F32 : test->dtype;

        before = train_bits_read(&problem);
        if (mglu_convert(&nan, MGLU_DTYPE_F32, rows_at(rows, NAN_TOKEN) + rows->element, dtype, 1) != MGLU_OK)
            exit(EXIT_FAILURE);
        train_step(&rig, &problem, NULL, outcome);
        for (int64_t token = 0; token < test->batch; token++)
            for (int i = TRAIN_Y; i <= TRAIN_DX; i++)
                check_row(&problem.results[i], token, before.bytes[i], token == NAN_TOKEN, test->dtype,
                          train_result_name((enum train_result)i), outcome);
        train_bits_free(&before);
    }
    train_close(&rig);
    train_problem_free(&problem);
}

static void nan_stays_in_its_token(const struct target *target, struct random random, struct outcome *outcome)
{
    for (int i = 0; i < 2 * BOTH && outcome->verdict == VERDICT_PASS; i++) {
        const struct train_case test = whole_train_case(both_dtypes[i / 2]);

        expect_nan_token(target, &test, random, i % 2, outcome);
    }
}

const struct train_check train_call_checks[] = {
    {"keeping-nothing-changes-nothing", keeping_nothing_changes_nothing},
    {"an-empty-batch-has-no-gradient", an_empty_batch_has_no_gradient},
    {"nan-stays-in-its-token", nan_stays_in_its_token},
    {NULL, NULL},
};
