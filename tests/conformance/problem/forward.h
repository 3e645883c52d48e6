/* SPDX-License-Identifier: MIT */
#ifndef MGLU_CONFORMANCE_FORWARD_H
#define MGLU_CONFORMANCE_FORWARD_H

#include "problem/problem.h"

/** The position of the arrays of a call in their memory. */
struct layout {
    int64_t offset;        /**< elements before the first row */
    int64_t gap;           /**< elements between the rows */
    unsigned char fill;    /**< the byte that y is filled with before, in rows and gaps */
    bool residual_is_y;    /**< y is its own residual */
    int64_t first, tokens; /**< of the problem's batch; tokens = 0: all */
    mglu_status wait;      /**< what the wait must return, or without a queue the forward */
    bool is_left;          /**< does not wait, though it reads y */
    bool is_asked;         /**< waits by asking mglu_queue_wait_for() until the work is done */
};

/** Without offset or gap, y full of NaN. */
extern const struct layout tight;

/**
 * One forward; where the rig has no queue, without one. The bytes of y's memory outside y must not change.
 *
 * @return y [tokens][columns] in its dtype without gaps, to be freed; NULL with the outcome set when a call failed.
 */
unsigned char *run_on(const struct rig *rig, const struct problem *problem, const struct layout *layout,
                      struct outcome *outcome);

/** The same on a rig of its own. */
unsigned char *run_once(mglu_device *device, const struct problem *problem, const struct layout *layout,
                        struct outcome *outcome);

#endif
