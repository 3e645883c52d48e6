/* SPDX-License-Identifier: MIT */
#include "vector.h"

#include <math.h>

/** Enough independent sums to fill vector registers and to hide the latency of additions. */
enum { LANES = 16 };

float vector_dot(const float *a, const float *b, int64_t count)
{
    float lanes[LANES] = {0};
    int64_t i = 0;
    for (; i + LANES <= count; i += LANES)
        for (int lane = 0; lane < LANES; lane++)
            lanes[lane] += a[i + lane] * b[i + lane];
    double sum = 0;
    for (; i < count; i++)
        sum += (double)a[i] * (double)b[i];
    for (int lane = 0; lane < LANES; lane++)
        sum += (double)lanes[lane];
    return (float)sum;
}

void vector_linear(const float *x, int64_t rows, int64_t inputs, const float *weight, const float *bias,
                   int64_t outputs, float *y)
{
    for (int64_t output = 0; output < outputs; output++) {
        const float *line = weight + output * inputs;
        const float start = bias ? bias[output] : 0.0F;
        for (int64_t row = 0; row < rows; row++)
            y[row * outputs + output] = start + vector_dot(x + row * inputs, line, inputs);
    }
}

void vector_rms_norm(const float *x, int64_t rows, int64_t count, const float *weight, double epsilon, float *y)
{
    for (int64_t row = 0; row < rows; row++, x += count, y += count) {
        double squares = 0;
        for (int64_t i = 0; i < count; i++)
            squares += (double)x[i] * (double)x[i];
        const double scale = 1 / sqrt(squares / (double)count + epsilon);
        for (int64_t i = 0; i < count; i++)
            y[i] = (float)((double)x[i] * scale * (double)weight[i]);
    }
}

void vector_softmax(float *values, int64_t count)
{
    const float largest = values[vector_largest(values, count)];
    double sum = 0;
    for (int64_t i = 0; i < count; i++) {
        values[i] = expf(values[i] - largest);
        sum += (double)values[i];
    }
    const float scale = (float)(1 / sum);
    for (int64_t i = 0; i < count; i++)
        values[i] *= scale;
}

double vector_negative_log_likelihood(const float *logits, int64_t count, int64_t index)
{
    const double largest = (double)logits[vector_largest(logits, count)];
    double sum = 0;
    for (int64_t i = 0; i < count; i++)
        sum += exp((double)logits[i] - largest);
    return log(sum) + largest - (double)logits[index];
}

int64_t vector_largest(const float *values, int64_t count)
{
    int64_t best = 0;
    for (int64_t i = 1; i < count; i++)
        if (values[i] > values[best])
            best = i;
    return best;
}
