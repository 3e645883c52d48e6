/* SPDX-License-Identifier: MIT */
#include "cases/special.h"
#include "cases/groups.h"

#include <string.h>

static const struct special_check *const all_checks[] = {
    nonfinite_checks, infinity_checks,    range_checks, shape_checks,     memory_checks,
    routing_checks,   environment_checks, queue_checks, workspace_checks, batch_checks,
};

enum { LISTS = sizeof all_checks / sizeof all_checks[0], MOST_CHECKS = 32 };

struct problem special_problem(const struct trial *trial, int64_t out, unsigned parts)
{
    const struct shape shape = {.dtypes = trial->dtypes,
                                .activation = trial->activation,
                                .h = 35,
                                .d = 9,
                                .out = out,
                                .n_masks = 3,
                                .batch = 3,
                                .parts = parts};

    return problem_make(&shape, trial->random);
}

struct problem bias_problem(const struct trial *trial, const float *gates, const float *values, int64_t d)
{
    const struct shape shape = {.dtypes = trial->dtypes,
                                .activation = trial->activation,
                                .d = d,
                                .n_masks = 1,
                                .batch = 1,
                                .parts = PART_BIASES};
    struct problem problem = problem_make(&shape, trial->random);

    memcpy(problem.gate_bias, gates, (size_t)d * sizeof *gates);
    memcpy(problem.value_bias, values, (size_t)d * sizeof *values);
    problem.weights.flags = MGLU_WEIGHTS_ALLOW_NONFINITE;
    return problem;
}

unsigned char *special_run(const struct trial *trial, const struct problem *problem)
{
    return run_once(trial->target->device, problem, &tight, trial->outcome);
}

/* A case's number encodes its index in the lists, its dtypes and its activation. */
static size_t number_of(size_t list, size_t check, size_t dtypes, size_t activation)
{
    return trial_number(list * MOST_CHECKS + check, dtypes, activation);
}

static bool applies(const struct special_check *check, const struct dtypes *dtypes)
{
    return !(check->axes & ONLY_F16_IN && dtypes->x != MGLU_DTYPE_F16) &&
           !(check->axes & ONLY_F16_OUT && dtypes->y != MGLU_DTYPE_F16) &&
           !(check->axes & ONLY_WIDE && dtypes->x == MGLU_DTYPE_F16) &&
           !(check->axes & ONLY_SAME && dtypes->x != dtypes->y) &&
           (check->axes & QUANTISED || !mglu_dtype_is_quantised(dtypes->weight));
}

static void list_check(size_t list, size_t check, case_sink *sink, void *user)
{
    const struct special_check *known = &all_checks[list][check];
    size_t dtypes = known->axes & PER_DTYPE ? DTYPE_SETS : 1;
    size_t first = known->axes & PER_ACTIVATION ? 0 : MGLU_ACTIVATION_IDENTITY;
    size_t end = known->axes & PER_ACTIVATION ? ACTIVATIONS : first + 1;

    for (size_t i = 0; i < dtypes; i++)
        for (size_t a = first; a < end; a++) {
            size_t number = number_of(list, check, i, a);
            if (!applies(known, &dtype_sets[i]) || !worth_a_case(i, a))
                continue;
            if (known->axes & PER_ACTIVATION)
                list_case(sink, user, TIER_QUICK, number, "special/%s/%s/%s", known->name, dtype_sets[i].name,
                          mglu_activation_name((mglu_activation)a));
            else if (known->axes & PER_DTYPE)
                list_case(sink, user, TIER_QUICK, number, "special/%s/%s", known->name, dtype_sets[i].name);
            else
                list_case(sink, user, TIER_QUICK, number, "special/%s", known->name);
        }
}

static void list_special(case_sink *sink, void *user)
{
    for (size_t list = 0; list < LISTS; list++)
        for (size_t check = 0; all_checks[list][check].name; check++)
            list_check(list, check, sink, user);
}

static void run_special(const struct target *target, const struct test_case *test, struct outcome *outcome)
{
    const struct trial trial = trial_of(target, test, outcome);

    all_checks[trial.kind / MOST_CHECKS][trial.kind % MOST_CHECKS].run(&trial);
}

const struct group group_special = {
    "special",
    "special values: each row of the table of docs/semantics.md",
    list_special,
    run_special,
};
