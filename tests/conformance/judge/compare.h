/* SPDX-License-Identifier: MIT */
#ifndef MGLU_CONFORMANCE_COMPARE_H
#define MGLU_CONFORMANCE_COMPARE_H

#include "problem/fills.h"

/** What the elements of a result must be: [rows][columns] without gaps. */
struct expectation {
    const char *name; /**< NULL: "y" */
    mglu_dtype dtype;
    int64_t rows, columns;
    const double *want;
    const double *tolerance;
    bool exact; /**< the tolerance is 0: an element is `want` rounded to the dtype */
};

/** Compares every element, fails the outcome with a text that locates the errors, and measures rho. */
void compare_rows(const struct expectation *expected, const struct rows *y, struct outcome *outcome);

/**
 * Why a comparison with this would prove little: mostly zeros, or, of `real` numbers, a tolerance near the signal. NULL
 * when it proves enough.
 */
const char *expectation_vacuous(const struct expectation *expected, bool real);

/** Converts an element of y; NaN for one that was never written. */
float element_of(const struct rows *rows, mglu_dtype dtype, int64_t row, int64_t column);

/** Draws x for each bad element and . for each good one around the worst; `bad` is [rows][columns]. */
void draw_map(FILE *stream, const unsigned char *bad, int64_t rows, int64_t columns, int64_t row, int64_t column);

#endif
