/* SPDX-License-Identifier: MIT */
#ifndef MGLU_BENCH_PROBLEM_H
#define MGLU_BENCH_PROBLEM_H

#include "options.h"

/** One combination of what the options list, which one comparison measures: all of its members compute this. */
struct problem {
    enum op op;
    enum regime regime;
    mglu_dtype dtype;   /**< of stored weights */
    mglu_dtype x_dtype; /**< of x and y */
    bool quantised_x;   /**< layers may round x to 8 bits; only where dtype is quantised */
    struct shape shape;
    int64_t batch;
};

#endif
