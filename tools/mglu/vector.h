/* SPDX-License-Identifier: MIT */
#ifndef MGLU_TOOLS_VECTOR_H
#define MGLU_TOOLS_VECTOR_H

/**
 * @file
 * The decoder's arithmetic outside the feed-forward layers: f32 values, sums in independent lanes that end in double.
 * A row's result does not depend on the number of rows.
 */

#include <stddef.h>
#include <stdint.h>

float vector_dot(const float *a, const float *b, int64_t count);

/** y[row] = weight x[row] + bias for weight [outputs][inputs]; bias may be NULL. */
void vector_linear(const float *x, int64_t rows, int64_t inputs, const float *weight, const float *bias,
                   int64_t outputs, float *y);

/** y[row] = x[row] / sqrt(mean(x[row]^2) + epsilon) * weight. */
void vector_rms_norm(const float *x, int64_t rows, int64_t count, const float *weight, double epsilon, float *y);

/** Replaces scores by weights that sum to 1. */
void vector_softmax(float *values, int64_t count);

/** -log softmax(logits)[index]. */
double vector_negative_log_likelihood(const float *logits, int64_t count, int64_t index);

/** Index of the largest value, the lowest on a tie. */
int64_t vector_largest(const float *values, int64_t count);

#endif
