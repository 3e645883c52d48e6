/* SPDX-License-Identifier: MIT */
#ifndef MGLU_CONFORMANCE_SPECIAL_H
#define MGLU_CONFORMANCE_SPECIAL_H

#include "cases/sets.h"
#include "judge/expect.h"
#include "problem/forward.h"

/**
 * @file
 * The special values of docs/semantics.md. A check's name begins with the number of its row in that table (00: the text
 * above the table) and is run for the dtypes and activations that it asks for.
 */

enum {
    PER_DTYPE = 1,
    PER_ACTIVATION = 2,
    ONLY_F16_IN = 4,  /**< W and x in f16 */
    ONLY_F16_OUT = 8, /**< y in f16 */
    ONLY_WIDE = 16,   /**< W and x with the range of f32 */
    ONLY_SAME = 32,   /**< x and y of one dtype */
    QUANTISED = 64    /**< in the sets with quantised weights too */
};

struct special_check {
    const char *name;
    unsigned axes;
    void (*run)(const struct trial *trial);
};

/** One list per topic; each ends with a NULL name. */
extern const struct special_check nonfinite_checks[], infinity_checks[], range_checks[], shape_checks[],
    memory_checks[], routing_checks[], environment_checks[], queue_checks[], workspace_checks[], batch_checks[];

/** Three tokens, h = 35, d = 9, three masks, and what `parts` adds; `out` = 0: no down-projection. */
struct problem special_problem(const struct trial *trial, int64_t out, unsigned parts);

/** h = 0, one token, one mask: y[r] = g(gate[r]) * value[r], to the bit where both are exact. */
struct problem bias_problem(const struct trial *trial, const float *gates, const float *values, int64_t d);

/** Runs with one number made NaN: NaN in a row and a column of y, elsewhere the bits of the run before. */
void expect_one_nan(const struct trial *trial, struct problem *problem, float *number, int64_t token, int64_t column);

/** Runs and compares with the IEEE value of equation 3. */
void run_and_expect_ieee(const struct trial *trial, const struct problem *problem, bool may_be_nan);

/** Runs on the target; NULL with the outcome set when that failed. */
unsigned char *special_run(const struct trial *trial, const struct problem *problem);

#endif
