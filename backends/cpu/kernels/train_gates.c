/* SPDX-License-Identifier: MIT */
#include "train.h"
#include "train_slopes.h"
#include "vec.h"

#include <string.h>

/* The gates of a block in training, and their gradients: see mglu_cpu_gates. Loops that the compiler vectorises. */

MGLU_INLINE void forward(const struct mglu_cpu_gates *job, mglu_activation activation)
{
    const float beta = job->beta;

    for (int32_t m = 0; m < job->tokens; m++) {
        const float *restrict t = job->t[m], *restrict s = job->s[m];
        const float *restrict gate_bias = job->gate_bias, *restrict value_bias = job->value_bias;
        float *restrict y = job->y[m];
        const float p = job->p[m];
        if (p < 0)
            continue;
        for (int32_t c = 0; c < MGLU_CPU_TRAIN_BLOCK; c++) {
            const float gate = s[c] + gate_bias[c], value = t[c] - s[c] + value_bias[c];
            y[c] += p * (activate(gate, activation, beta) * value);
        }
    }
}

/* The sum of a block's row in a fixed order, which vectors of any length have. */
MGLU_INLINE float sum_row(float *row)
{
    for (int32_t width = MGLU_CPU_TRAIN_BLOCK / 2; width > 0; width /= 2)
        for (int32_t c = 0; c < width; c++)
            row[c] += row[c + width];
    return row[0];
}

MGLU_INLINE void backward(const struct mglu_cpu_gates *job, mglu_activation activation)
{
    const float beta = job->beta;
    mglu_cpu_train_row dp;

    for (int32_t m = 0; m < job->tokens; m++) {
        const float *restrict t = job->t[m], *restrict s = job->s[m], *restrict dy = job->dy[m];
        const float *restrict gate_bias = job->gate_bias, *restrict value_bias = job->value_bias;
        float *restrict ds = job->ds[m], *restrict dt = job->dt[m];
        float *restrict gate_sums = job->gate_sums, *restrict value_sums = job->value_sums;
        const float p = job->p[m];
        if (p < 0) {
            memset(ds, 0, sizeof *job->ds);
            continue;
        }
        for (int32_t c = 0; c < MGLU_CPU_TRAIN_BLOCK; c++) {
            const float value = t[c] - s[c] + value_bias[c];
            const slope g = activation_slope(s[c] + gate_bias[c], activation, beta);
            const float dgate = p * dy[c] * (g.derivative * value), dvalue = p * dy[c] * g.value;
            ds[c] = dgate - dvalue;
            dt[c] += dvalue;
            gate_sums[c] += dgate;
            value_sums[c] += dvalue;
            dp[c] = dy[c] * (g.value * value);
        }
        job->dp[m] += sum_row(dp);
    }
}

#define GATES(name, NAME)                                                                                              \
    static void forward_##name(const struct mglu_cpu_gates *job)                                                       \
    {                                                                                                                  \
        forward(job, MGLU_ACTIVATION_##NAME);                                                                          \
    }                                                                                                                  \
    static void backward_##name(const struct mglu_cpu_gates *job)                                                      \
    {                                                                                                                  \
        backward(job, MGLU_ACTIVATION_##NAME);                                                                         \
    }

GATES(silu, SILU)
GATES(gelu_erf, GELU_ERF)
GATES(gelu_tanh, GELU_TANH)
GATES(relu, RELU)
GATES(sigmoid, SIGMOID)
GATES(identity, IDENTITY)

const struct mglu_cpu_train_gates KERNEL(train_gates) = {
    .forward =
        {
            [MGLU_ACTIVATION_SILU] = forward_silu,
            [MGLU_ACTIVATION_GELU_ERF] = forward_gelu_erf,
            [MGLU_ACTIVATION_GELU_TANH] = forward_gelu_tanh,
            [MGLU_ACTIVATION_RELU] = forward_relu,
            [MGLU_ACTIVATION_SIGMOID] = forward_sigmoid,
            [MGLU_ACTIVATION_IDENTITY] = forward_identity,
        },
    .backward =
        {
            [MGLU_ACTIVATION_SILU] = backward_silu,
            [MGLU_ACTIVATION_GELU_ERF] = backward_gelu_erf,
            [MGLU_ACTIVATION_GELU_TANH] = backward_gelu_tanh,
            [MGLU_ACTIVATION_RELU] = backward_relu,
            [MGLU_ACTIVATION_SIGMOID] = backward_sigmoid,
            [MGLU_ACTIVATION_IDENTITY] = backward_identity,
        },
};
