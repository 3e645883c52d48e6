/* SPDX-License-Identifier: MIT */
#include "problem/axes.h"

#include <mglu/types.h>

const int axis_h[] = {1,  2,  7,   8,   9,   15,  16,  17,   31,   32,   33,  63,
                      64, 65, 127, 128, 129, 255, 257, 1000, 1024, 4096, 4099};
const int axis_d[] = {1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 33, 64, 67, 255, 1000, 3072};
const int axis_batch[] = {1, 2, 3, 4, 7, 8, 9, 16, 17, 33, 64, 129};
const int axis_masks[] = {0, 1, 2, 3, 4, 5, 7, 8, 9, 12, 15, 16};

#define COUNT(array) (int)(sizeof(array) / sizeof((array)[0]))

const int axis_sizes[AXES] = {
    [AXIS_H] = COUNT(axis_h),
    [AXIS_D] = COUNT(axis_d),
    [AXIS_BATCH] = COUNT(axis_batch),
    [AXIS_MASKS] = COUNT(axis_masks),
    [AXIS_ROUTING] = ROUTINGS,
    [AXIS_DTYPES] = DTYPE_TRIPLES,
    [AXIS_ACTIVATION] = MGLU_ACTIVATION_COUNT + 1,
    [AXIS_PLACEMENT] = PLACEMENTS,
    [AXIS_BIAS] = BIASES,
    [AXIS_FILL] = FILL_WIDE + 1,
    [AXIS_RESIDUAL] = RESIDUALS,
    [AXIS_DOWN] = 2,
    [AXIS_BITS] = BITS,
};

static bool takes_two_masks(int routing)
{
    return routing == ROUTING_TWO || routing == ROUTING_DUPLICATES || routing == ROUTING_ZERO ||
           routing == ROUTING_ROUTER_TWO;
}

/* Impossible combinations: a plain GLU has no routing, and a layer with one mask has no second one. */
static bool routing_fits(const signed char row[AXES])
{
    int routing = row[AXIS_ROUTING], masks = row[AXIS_MASKS];

    if (routing < 0 || masks < 0)
        return true;
    return (axis_masks[masks] > 0 || routing == ROUTING_OFF) && (axis_masks[masks] != 1 || !takes_two_masks(routing));
}

/* Combinations that prove nothing: with one column and no bias, gate or value is empty and every product 0. */
static bool can_be_nonzero(const signed char row[AXES])
{
    bool masked = (row[AXIS_MASKS] >= 0 && axis_masks[row[AXIS_MASKS]] > 0) || row[AXIS_ROUTING] > ROUTING_OFF;

    return !(row[AXIS_H] == 0 && row[AXIS_BIAS] == BIAS_NONE && masked);
}

/* The number of masks of a row, or the smallest possible one. A plain GLU counts as one. */
static int fewest_masks(const signed char row[AXES])
{
    if (row[AXIS_MASKS] >= 0)
        return axis_masks[row[AXIS_MASKS]] ? axis_masks[row[AXIS_MASKS]] : 1;
    return takes_two_masks(row[AXIS_ROUTING]) ? 2 : 1;
}

/* Whether the flags of the row's AXIS_BITS apply to its weights. */
static bool bits_fit(const signed char row[AXES])
{
    return row[AXIS_BITS] != BITS_QUANTISED_X || row[AXIS_DTYPES] < 0 || row[AXIS_DTYPES] >= FLOAT_DTYPES;
}

bool axes_allow(const signed char row[AXES], int64_t limit)
{
    int64_t products = 1;

    if (row[AXIS_H] >= 0)
        products *= axis_h[row[AXIS_H]];
    if (row[AXIS_D] >= 0)
        products *= axis_d[row[AXIS_D]];
    if (row[AXIS_BATCH] >= 0)
        products *= axis_batch[row[AXIS_BATCH]];
    products *= fewest_masks(row);
    return products <= limit && routing_fits(row) && can_be_nonzero(row) && bits_fit(row);
}
