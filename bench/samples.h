/* SPDX-License-Identifier: MIT */
#ifndef MGLU_BENCH_SAMPLES_H
#define MGLU_BENCH_SAMPLES_H

#include <stddef.h>

enum { MOST_ROUNDS = 1000 };

/**
 * The value below which this share of at most MOST_ROUNDS samples lies, between neighbours in proportion. NaN without
 * samples.
 */
double samples_quantile(const double *samples, size_t count, double share);

double samples_median(const double *samples, size_t count);

#endif
