/* SPDX-License-Identifier: MIT */
#ifndef MGLU_CONFORMANCE_GRID_H
#define MGLU_CONFORMANCE_GRID_H

#include "problem/fills.h"

/** Runs a case whose data is a struct grid_case. */
void grid_run(const struct target *target, const struct test_case *test, struct outcome *outcome);

/** Makes a problem for a case; `attempt` counts from 0. */
typedef void problem_maker(struct grid_problem *problem, const struct grid_case *test, const struct target *target,
                           const char *name, int attempt);

/** The same with numbers that the group makes itself. */
void grid_run_with(problem_maker *make, const struct target *target, const struct test_case *test,
                   struct outcome *outcome);

#endif
