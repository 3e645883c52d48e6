/* SPDX-License-Identifier: MIT */

/*
 * Common to lanes.cl and slices.cl. Both sum ROWS rows and TOKENS tokens at a time: the total and each mask's selection
 * from it.
 */

#define SUMS (MATRICES + MASKS) /* of a row and token: the total, the second matrix's, then one for each mask */

MGLU_INLINE float fold(float8 v)
{
    float4 four = v.lo + v.hi;
    float2 two = four.lo + four.hi;
    return two.lo + two.hi;
}

/* The addresses of an item's rows and tokens. */
struct place {
    struct row weights[ROWS];
    struct row values[ROWS];
    __global const uint *masks[ROWS];
    size_t x[TOKENS];        /* elements */
    __global const int *ids; /* of the one token when routed */
};
