/* SPDX-License-Identifier: MIT */
#ifndef MGLU_BENCH_SAMPLES_H
#define MGLU_BENCH_SAMPLES_H

#include <stddef.h>

enum { MOST_ROUNDS = 1000 };

/**
 * The quantile `share` (0 to 1) of at most MOST_ROUNDS samples, interpolated linearly. NaN without samples.
 */
double samples_quantile(const double *samples, size_t count, double share);

double samples_median(const double *samples, size_t count);

#endif
