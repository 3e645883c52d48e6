/* SPDX-License-Identifier: MIT */
#ifndef MGLU_TOOLS_CHECK_H
#define MGLU_TOOLS_CHECK_H

#include <mglu/mglu.h>

#include <stdbool.h>

/** Rows that a layer has computed, converted to double, and the expected ones. */
struct check {
    const double *got;
    const double *want;
    double *tolerance; /**< allowed error of each element */
    int64_t rows;
    int64_t width;
};

/**
 * Calculates the tolerances of docs/semantics.md for x, with a layer on the reference backend of the same context.
 * Reports why when that fails.
 */
bool check_tolerances(struct check *check, mglu_context *context, const mglu_weights_desc *weights,
                      const mglu_layer_desc *desc, mglu_accuracy accuracy, const void *x);

/** Prints the largest error as a fraction of its tolerance. Reports and returns false when that is above 1. */
bool check_print(const struct check *check);

#endif
