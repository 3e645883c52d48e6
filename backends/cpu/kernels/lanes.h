/* SPDX-License-Identifier: MIT */
#ifndef MGLU_CPU_LANES_H
#define MGLU_CPU_LANES_H

/* A sum in the order that all instruction sets share: gemv.c documents it. */

#include "weights.h"

/* The 32 lanes of one sum. */
typedef struct lanes {
    vec part[VEC_PARTS];
} lanes;

MGLU_INLINE lanes lanes_zero(void)
{
    lanes sum;

    MGLU_UNROLL
    for (int part = 0; part < VEC_PARTS; part++)
        sum.part[part] = vec_zero();
    return sum;
}

MGLU_INLINE float lanes_reduce(lanes sum)
{
    MGLU_UNROLL
    for (int step = VEC_PARTS / 2; step >= 1; step /= 2) {
        MGLU_UNROLL
        for (int part = 0; part < step; part++)
            sum.part[part] = vec_add(sum.part[part], sum.part[part + step]);
    }
    return vec_reduce(sum.part[0]);
}

#endif
