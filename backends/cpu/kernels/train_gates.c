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

/* The sum of a row in a fixed order, which vectors of any length have. */
MGLU_INLINE float sum_row(float *row)
{
    for (int32_t width = MGLU_CPU_TRAIN_BLOCK / 2; width > 0; width /= 2)
        for (int32_t c = 0; c < width; c++)
            row[c] += row[c + width];
    return row[0];
}

/* A token's row of a block. */
struct gate_row {
    mglu_cpu_train_row value, g, derivative; /* value, g(gate), g'(gate) */
    mglu_cpu_train_row dgate, dvalue;
};

/* Each loop writes arrays of its own only, else compilers do not vectorise it. */
MGLU_INLINE void compute_row(const struct mglu_cpu_gates *job, int32_t m, mglu_activation activation,
                             struct gate_row *row)
{
    const float *t = job->t[m], *s = job->s[m], *dy = job->dy[m];
    const float beta = job->beta, p = job->p[m];

    for (int32_t c = 0; c < MGLU_CPU_TRAIN_BLOCK; c++) {
        const slope g = activation_slope(s[c] + job->gate_bias[c], activation, beta);
        row->g[c] = g.value;
        row->derivative[c] = g.derivative;
    }
    for (int32_t c = 0; c < MGLU_CPU_TRAIN_BLOCK; c++) {
        row->value[c] = t[c] - s[c] + job->value_bias[c];
        row->dgate[c] = p * dy[c] * (row->derivative[c] * row->value[c]);
        row->dvalue[c] = p * dy[c] * row->g[c];
    }
}

MGLU_INLINE void add_row(const float *row, float *to)
{
    for (int32_t c = 0; c < MGLU_CPU_TRAIN_BLOCK; c++)
        to[c] += row[c];
}

MGLU_INLINE void backward(const struct mglu_cpu_gates *job, mglu_activation activation)
{
    struct gate_row row;

    for (int32_t m = 0; m < job->tokens; m++) {
        if (job->p[m] < 0) {
            memset(job->ds[m], 0, sizeof *job->ds);
            continue;
        }
        compute_row(job, m, activation, &row);
        for (int32_t c = 0; c < MGLU_CPU_TRAIN_BLOCK; c++)
            job->ds[m][c] = row.dgate[c] - row.dvalue[c];
        add_row(row.dvalue, job->dt[m]);
        if (job->gate_sums) {
            add_row(row.dgate, job->gate_sums);
            add_row(row.dvalue, job->value_sums);
        }
        if (job->dp) {
            for (int32_t c = 0; c < MGLU_CPU_TRAIN_BLOCK; c++)
                row.g[c] *= job->dy[m][c] * row.value[c];
            job->dp[m] += sum_row(row.g);
        }
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
