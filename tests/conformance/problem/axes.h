/* SPDX-License-Identifier: MIT */
#ifndef MGLU_CONFORMANCE_AXES_H
#define MGLU_CONFORMANCE_AXES_H

#include <stdbool.h>
#include <stdint.h>

/**
 * @file
 * The axes of the grid and which of their values go together. Used by the suite and by the program that computes the
 * covering rows when the suite is built.
 */

enum axis {
    AXIS_H,
    AXIS_D,
    AXIS_BATCH,
    AXIS_MASKS,
    AXIS_ROUTING,
    AXIS_DTYPES,
    AXIS_ACTIVATION,
    AXIS_PLACEMENT,
    AXIS_BIAS,
    AXIS_FILL,
    AXIS_RESIDUAL,
    AXIS_DOWN,
    AXIS_BITS,
    AXES
};

enum routing {
    ROUTING_OFF,
    ROUTING_ONE,        /**< K = 1, another mask for each token */
    ROUTING_TWO,        /**< K = 2 */
    ROUTING_ALL,        /**< K = n_m, rotated from token to token */
    ROUTING_DUPLICATES, /**< K = 2, the same mask twice */
    ROUTING_ZERO,       /**< K = 2, one of the two weights is 0 */
    ROUTING_ROUTER_ONE, /**< the layer's router selects 1 */
    ROUTING_ROUTER_TWO,
    ROUTING_ROUTER_ALL,
    ROUTINGS
};

enum placement {
    PLACE_TIGHT,
    PLACE_PADDED, /**< strides longer than rows */
    PLACE_OFFSET, /**< begins one element after an aligned address */
    PLACE_OFFSET_PADDED,
    PLACE_ENDS_AT_GUARD,   /**< the next byte can't be read */
    PLACE_STARTS_AT_GUARD, /**< nor the one before */
    PLACEMENTS
};

enum bias { BIAS_NONE, BIAS_GATE, BIAS_VALUE, BIAS_BOTH, BIASES };

/** From FILL_EXACT on all numbers are small integers. */
enum fill { FILL_REAL, FILL_POSITIVE, FILL_WIDE, FILL_EXACT, FILL_PROBES };

enum residual { RESIDUAL_NONE, RESIDUAL_SEPARATE, RESIDUAL_IN_PLACE, RESIDUALS };

/** What a layer's flags require of its bits. */
enum bits {
    BITS_ANY,
    BITS_SAME,        /**< reproducible */
    BITS_QUANTISED_X, /**< x may be rounded to 8 bits; of quantised weights only */
    BITS
};

/** Values of the axes that are numbers. 0 masks: a plain GLU. */
extern const int axis_h[], axis_d[], axis_batch[], axis_masks[];

/**
 * How many values each axis has. Of the dtypes, the first FLOAT_DTYPES have no quantised weights, and they use only the
 * first FLOAT_BITS values of AXIS_BITS.
 */
extern const int axis_sizes[AXES];
enum { FLOAT_DTYPES = 7, DTYPE_TRIPLES = 11, FLOAT_BITS = BITS_QUANTISED_X };

/**
 * Whether a row may become a case; -1 is a value not chosen yet. Every row that is allowed so far can be completed.
 * `limit` is the largest number of products: h * d * batch * masks.
 */
bool axes_allow(const signed char row[AXES], int64_t limit);

#endif
