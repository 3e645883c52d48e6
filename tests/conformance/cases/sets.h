/* SPDX-License-Identifier: MIT */
#ifndef MGLU_CONFORMANCE_SETS_H
#define MGLU_CONFORMANCE_SETS_H

#include "problem/problem.h"

/** The dtypes of the groups that have small problems. */
enum { DTYPE_SETS = 9, ACTIVATIONS = MGLU_ACTIVATION_COUNT };
extern const struct dtypes dtype_sets[DTYPE_SETS];

/** Whether there is a case for a set of dtypes and an activation: two activations suffice for quantised weights. */
bool worth_a_case(size_t dtypes, size_t activation);

/** Gives one case to a sink. case_number() returns its `number`. */
void list_case(case_sink *sink, void *user, enum tier tier, size_t number, const char *format, ...)
    __attribute__((format(printf, 5, 6)));
size_t case_number(const struct test_case *test);

/** One case of a group whose cases are trials of a kind, each with a set of dtypes and an activation. */
struct trial {
    const struct target *target;
    size_t kind; /**< the group's own number for the kind of trial */
    const struct dtypes *dtypes;
    mglu_activation activation;
    struct random random;
    struct outcome *outcome;
};

/** The case_number() of a trial, and the trial of a case listed with it. */
size_t trial_number(size_t kind, size_t dtypes, size_t activation);
struct trial trial_of(const struct target *target, const struct test_case *test, struct outcome *outcome);

#endif
