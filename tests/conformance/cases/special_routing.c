/* SPDX-License-Identifier: MIT */
#include "cases/special.h"

#include <math.h>
#include <stdlib.h>

/* Row 18: unusual results of a caller's routing and of a router. */

static struct problem routed(const struct trial *trial, int32_t top_k, unsigned parts)
{
    const struct shape shape = {.dtypes = trial->dtypes,
                                .activation = trial->activation,
                                .h = 35,
                                .d = 9,
                                .n_masks = 4,
                                .top_k = top_k,
                                .batch = 3,
                                .parts = parts | PART_BIASES};

    return problem_make(&shape, trial->random);
}

/* Reported by the wait after the forward and by no later one. */
static void expect_bad_routing(const struct trial *trial, const struct problem *problem, const unsigned char *clean)
{
    static const struct layout layout = {.fill = 0, .wait = MGLU_ERROR_BAD_ROUTING};
    unsigned char *y;
    struct rig rig;

    if (!open_rig(&rig, trial->target->device, problem, trial->outcome))
        return;
    y = run_on(&rig, problem, &layout, trial->outcome);
    outcome_expect(trial->outcome, "a second mglu_queue_wait", mglu_queue_wait(rig.queue), MGLU_OK);
    if (y && expect_nan(trial->outcome, problem, y, 1, ALL))
        expect_same(trial->outcome, problem, y, clean, 1, NONE, "with all ids in range");
    free(y);
    rig_close(&rig);
}

static void ids_out_of_range(const struct trial *trial)
{
    static const int32_t ids[] = {4, -1, 16, 1 << 20, INT32_MAX, INT32_MIN};

    for (size_t i = 0; i < sizeof ids / sizeof ids[0]; i++)
        for (int64_t place = 0; place < 2; place++) {
            struct problem problem = routed(trial, 2, 0);
            unsigned char *clean = special_run(trial, &problem);
            problem.ids[2 + place] = ids[i];
            problem.p[2 + place] = i % 2 ? 0 : 1;
            if (clean)
                expect_bad_routing(trial, &problem, clean);
            free(clean);
            problem_free(&problem);
        }
}

static void duplicates(const struct trial *trial)
{
    static const int32_t lists[][4] = {{2, 2, 2, 2}, {0, 3, 0, 3}, {1, 1, 3, 1}};

    for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++) {
        struct problem problem = routed(trial, 4, 0);
        for (size_t k = 0; k < 3 * 4; k++)
            problem.ids[k] = lists[i][k % 4];
        check_with_oracle(trial->target, &problem, trial->outcome);
        problem_free(&problem);
    }
}

/* p = 0 times an infinite term is NaN; times a finite term it adds 0. */
static void zero_weight(const struct trial *trial)
{
    struct problem problem = routed(trial, 2, 0);
    unsigned char *y;

    for (size_t k = 0; k < 3 * 2; k++) {
        problem.ids[k] = (int32_t)(k % 2 + 1);
        problem.p[k] = k % 2 ? 0 : 1;
    }
    check_with_oracle(trial->target, &problem, trial->outcome);
    problem.weights.flags = MGLU_WEIGHTS_ALLOW_NONFINITE;
    for (int64_t r = 0; r < 9; r++)
        problem.gate_bias[2 * 9 + r] = problem.value_bias[2 * 9 + r] = INFINITY;
    y = special_run(trial, &problem);
    if (y)
        expect_nan(trial->outcome, &problem, y, ALL, ALL);
    free(y);
    problem_free(&problem);
}

static void nonfinite_weight(const struct trial *trial)
{
    static const float weights[] = {NAN, INFINITY, -INFINITY};

    for (size_t i = 0; i < sizeof weights / sizeof weights[0]; i++) {
        struct problem problem = routed(trial, 2, 0);
        unsigned char *clean = special_run(trial, &problem), *y = NULL;
        problem.p[2 * 1 + 1] = weights[i];
        if (clean)
            y = special_run(trial, &problem);
        for (int64_t r = 0; y && r < 9; r++)
            if (isfinite(y_at(&problem, y, 1, r)))
                outcome_set(trial->outcome, VERDICT_FAIL, "y[1][%d] is finite, but p is %g", (int)r,
                            (double)weights[i]);
        if (y)
            expect_same(trial->outcome, &problem, y, clean, 1, NONE, "with finite weights");
        free(clean);
        free(y);
        problem_free(&problem);
    }
}

/* By a NaN in the router, which may be far from the largest logits, and by one in x. */
static void nan_logit(const struct trial *trial)
{
    for (int32_t top_k = 1; top_k <= 4; top_k++)
        for (int64_t mask = 0; mask < 4; mask++) {
            struct problem problem = routed(trial, top_k, PART_ROUTER);
            problem.weights.flags = MGLU_WEIGHTS_ALLOW_NONFINITE;
            problem.router[mask * 35 + 34] = NAN;
            unsigned char *y = special_run(trial, &problem);
            if (y)
                expect_nan(trial->outcome, &problem, y, ALL, ALL);
            free(y);
            problem_free(&problem);
        }
}

/* Logits, how many masks to select, and their ids in ascending order; -1 ends the list. */
static const struct {
    float logits[4];
    int32_t top_k, chosen[4];
} ties[] = {
    {{1, 1, 1, 1}, 1, {0, -1}},       {{1, 1, 1, 1}, 2, {0, 1, -1}},       {{1, 1, 1, 1}, 3, {0, 1, 2, -1}},
    {{0, 2, 2, 1}, 1, {1, -1}},       {{1, 2, 1, 1}, 2, {0, 1, -1}},       {{-3, -1, -2, -1}, 1, {1, -1}},
    {{0, 0, 0, 5}, 2, {0, 3, -1}},    {{-1, -1, 3, -1}, 3, {0, 1, 2, -1}}, {{0, 0, -1, 0}, 3, {0, 1, 3, -1}},
    {{2, 1, 1, 2}, 3, {0, 1, 3, -1}},
};

/* Only one mask has a term that is not 0, so that y shows whether it was selected. */
static void tie_of_logits(const struct trial *trial)
{
    for (size_t i = 0; i < sizeof ties / sizeof ties[0]; i++)
        for (int32_t mask = 0; mask < 4; mask++) {
            struct problem problem = routed(trial, ties[i].top_k, PART_ROUTER);
            bool chosen = false;
            fill_floats(problem.weight, 9 * 35, 0);
            fill_floats(problem.gate_bias, 4 * 9, 1);
            fill_floats(problem.value_bias, 4 * 9, 0);
            fill_floats(problem.value_bias + mask * 9, 9, 1);
            fill_floats(problem.router, 4 * 35, 0);
            for (int32_t k = 0; k < 4; k++) {
                problem.router[k * 35 + 33] = ties[i].logits[k];
                chosen |= k < ties[i].top_k && ties[i].chosen[k] == mask;
            }
            for (int64_t token = 0; token < 3; token++)
                *x_at(&problem, token, 33) = 1;
            unsigned char *y = special_run(trial, &problem);
            if (y && (y_at(&problem, y, 2, 8) > 0) != chosen)
                outcome_set(trial->outcome, VERDICT_FAIL, "logits %g %g %g %g, K = %d: mask %d was%s chosen",
                            (double)ties[i].logits[0], (double)ties[i].logits[1], (double)ties[i].logits[2],
                            (double)ties[i].logits[3], ties[i].top_k, mask, chosen ? " not" : "");
            free(y);
            check_with_oracle(trial->target, &problem, trial->outcome);
            problem_free(&problem);
        }
}

/* The biases of masks that are not listed are NaN; none of them may be read. */
static void unlisted_masks(const struct trial *trial)
{
    struct problem problem = routed(trial, 2, 0);
    unsigned char *clean, *y = NULL;

    for (size_t k = 0; k < 3 * 2; k++)
        problem.ids[k] = k % 2 ? 3 : 1;
    clean = special_run(trial, &problem);
    problem.weights.flags = MGLU_WEIGHTS_ALLOW_NONFINITE;
    for (int32_t mask = 0; mask < 4; mask += 2) {
        fill_floats(problem.gate_bias + mask * 9, 9, NAN);
        fill_floats(problem.value_bias + mask * 9, 9, INFINITY);
    }
    if (clean)
        y = special_run(trial, &problem);
    if (y)
        expect_same(trial->outcome, &problem, y, clean, NONE, NONE, "with other biases of masks not listed");
    free(clean);
    free(y);
    problem_free(&problem);
}

const struct special_check routing_checks[] = {
    {"18-ids-out-of-range", PER_DTYPE, ids_out_of_range},
    {"18-duplicates", PER_DTYPE | QUANTISED | PER_ACTIVATION, duplicates},
    {"18-zero-weight", PER_DTYPE | PER_ACTIVATION, zero_weight},
    {"18-nonfinite-weight", PER_DTYPE | PER_ACTIVATION, nonfinite_weight},
    {"18-nan-logit", PER_DTYPE, nan_logit},
    {"18-tie-of-logits", PER_DTYPE, tie_of_logits},
    {"18-unlisted-masks", PER_DTYPE | QUANTISED, unlisted_masks},
    {NULL, 0, NULL},
};
