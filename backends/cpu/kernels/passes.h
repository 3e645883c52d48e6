/* SPDX-License-Identifier: MIT */
#ifndef MGLU_CPU_PASSES_H
#define MGLU_CPU_PASSES_H

/* How rows and masks are spread over calls of sum_row(), which the file that includes this has defined. */

#include "kernels.h"

/* One pass over a row: at most MASKS_PER_PASS masks, so that all sums stay in registers. */
MGLU_INLINE void sum_pass(const struct mglu_cpu_sums *job, int32_t r, int32_t first, mglu_dtype dtype, int32_t n)
{
#define PASS(count)                                                                                                    \
    case count:                                                                                                        \
        if (count <= MASKS_PER_PASS)                                                                                   \
            sum_row(job, r, first, dtype, count);                                                                      \
        break

    switch (n) {
        PASS(0);
        PASS(1);
        PASS(2);
        PASS(3);
        PASS(4);
        PASS(5);
        PASS(6);
        PASS(7);
        PASS(8);
    }
#undef PASS
}

/* More masks than fit a pass read the row again, from the nearest cache. */
MGLU_INLINE void sum_rows(const struct mglu_cpu_sums *job, mglu_dtype dtype)
{
    for (int32_t r = 0; r < job->rows; r++) {
        int32_t first = 0;
        do {
            int32_t n = job->n - first < MASKS_PER_PASS ? job->n - first : MASKS_PER_PASS;
            sum_pass(job, r, first, dtype, n);
            first += n;
        } while (first < job->n);
    }
}

#endif
