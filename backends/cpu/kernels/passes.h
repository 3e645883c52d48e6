/* SPDX-License-Identifier: MIT */
#ifndef MGLU_CPU_PASSES_H
#define MGLU_CPU_PASSES_H

#include "kernels.h"

/*
 * Calls sum_row() for each row from the given one on, with the number of masks as a constant. The file that includes
 * this has defined it, and how many masks it can have at once; where there are more, it is told so and finds another
 * way for the others.
 */
MGLU_INLINE void sum_rows(const struct mglu_cpu_sums *job, int32_t first, mglu_dtype dtype)
{
#define WITH(count)                                                                                                    \
    case count:                                                                                                        \
        if (count <= MASKS_AT_ONCE)                                                                                    \
            sum_row(job, r, dtype, count, 0);                                                                          \
        break

    for (int32_t r = first; r < job->rows; r++)
        switch (job->n <= MASKS_AT_ONCE ? job->n : -1) {
            WITH(0);
            WITH(1);
            WITH(2);
            WITH(3);
            WITH(4);
            WITH(5);
            WITH(6);
            WITH(7);
            WITH(8);
            WITH(9);
            WITH(10);
            WITH(11);
            WITH(12);
            WITH(13);
            WITH(14);
            WITH(15);
            WITH(16);
        default:
            sum_row(job, r, dtype, MASKS_AT_ONCE, 1);
        }
#undef WITH
}

#endif
