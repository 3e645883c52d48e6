/* SPDX-License-Identifier: MIT */
#include "int8_kernels.h"

#include <math.h>
#include <string.h>

/* Quantisation of x for GEMV of integers, and the table of an instruction set's int8 kernels. */

/* Outside of these, and where x is not finite, a product of scales might not be a normal number. */
#define LEAST_MAGNITUDE 0x1p-80f
#define MOST_MAGNITUDE  0x1p96f

/* The largest magnitude of a group, compared as integers: the order is the same, and NaN is the largest. */
static uint32_t largest_bits(const float *x)
{
    uint32_t largest = 0;

    for (int j = 0; j < MGLU_GROUP_COLUMNS; j++) {
        uint32_t bits;
        memcpy(&bits, x + j, sizeof bits);
        bits &= 0x7fffffffu;
        largest = bits > largest ? bits : largest;
    }
    return largest;
}

/* To the nearest integer, ties to even: it is in the low bits of the sum. */
MGLU_INLINE int8_t nearest(float v)
{
    const float sum = v + 0x1.8p23f;
    int32_t bits;

    memcpy(&bits, &sum, sizeof bits);
    return (int8_t)bits;
}

/* Writes the quants of a group and returns the start of its unsigned sums. */
MGLU_INLINE int32_t quantise_group(const float *x, float times, int8_t *quants)
{
    int32_t sum = 0;

    for (int j = 0; j < MGLU_GROUP_COLUMNS; j++) {
        quants[j] = nearest(x[j] * times);
        sum += quants[j];
    }
    return MGLU_CPU_INT8_START_BITS - 128 * sum;
}

static void quantise_x(const float *x, int64_t groups, void *quantised)
{
    float *scales = quantised;
    int32_t *starts = (int32_t *)(void *)((char *)quantised + mglu_cpu_starts_offset(groups));
    int8_t *quants = (int8_t *)mglu_cpu_quants(quantised, groups);

    memset(quantised, 0, mglu_cpu_quantised_bytes(groups));
    for (int64_t group = 0; group < groups; group++, x += MGLU_GROUP_COLUMNS, quants += MGLU_GROUP_COLUMNS) {
        const uint32_t bits = largest_bits(x);
        float largest;

        starts[group] = MGLU_CPU_INT8_START_BITS;
        if (bits == 0)
            continue;
        memcpy(&largest, &bits, sizeof largest);
        if (!(largest >= LEAST_MAGNITUDE && largest <= MOST_MAGNITUDE)) {
            scales[0] = NAN;
            return;
        }
        scales[group] = largest / 127;
        starts[group] = quantise_group(x, 127 / largest, quants);
    }
}

const struct mglu_cpu_int8 KERNEL(int8) = {
    .quantise_x = quantise_x,
    .gemv = {[MGLU_DTYPE_Q8_0] = KERNEL(gemv_int8_q8_0), [MGLU_DTYPE_Q4_0] = KERNEL(gemv_int8_q4_0)},
};
