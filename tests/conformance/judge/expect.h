/* SPDX-License-Identifier: MIT */
#ifndef MGLU_CONFORMANCE_EXPECT_H
#define MGLU_CONFORMANCE_EXPECT_H

#include "problem/problem.h"

/** Element [row][column] of a y without gaps. */
float y_at(const struct problem *problem, const unsigned char *y, int64_t row, int64_t column);

/** All rows or columns; none, where the argument names the one to skip. */
enum { ALL = -1, NONE = -1 };

/** The same bits except in one row and one column, which may be NONE. `what` names the run compared with. */
bool expect_same(struct outcome *outcome, const struct problem *problem, const unsigned char *got,
                 const unsigned char *want, int64_t skip_row, int64_t skip_column, const char *what);

/** NaN in a row and a column, which may be ALL. */
bool expect_nan(struct outcome *outcome, const struct problem *problem, const unsigned char *got, int64_t row,
                int64_t column);

/** The value itself; NaN for NaN, and either zero for zero. */
bool expect_value(struct outcome *outcome, const struct problem *problem, const unsigned char *got, int64_t row,
                  int64_t column, double want);

/** The reference's y and its tolerances: both [batch][columns], to be freed. */
struct oracle {
    double *want, *tolerance;
};
bool compute_oracle(struct oracle *oracle, const struct target *target, const struct problem *problem,
                    mglu_accuracy accuracy, struct outcome *outcome);
void free_oracle(struct oracle *oracle);

/** Every element within its tolerance; NaN for NaN, infinity for infinity. */
void compare_with_oracle(const struct oracle *oracle, const struct problem *problem, const unsigned char *y,
                         struct outcome *outcome);

/** Runs a problem on the target and compares every element with the oracle. */
void check_with_oracle(const struct target *target, const struct problem *problem, struct outcome *outcome);

#endif
