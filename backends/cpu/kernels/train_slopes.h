/* SPDX-License-Identifier: MIT */
#ifndef MGLU_CPU_TRAIN_SLOPES_H
#define MGLU_CPU_TRAIN_SLOPES_H

/* The activations and their derivatives, without branches, for loops that the compiler vectorises. */

#include "common/core/activate.h"

typedef struct slope {
    float value, derivative;
} slope;

/* sigmoid(g), and sigmoid(g) (1 - sigmoid(g)) without cancellation. */
MGLU_INLINE slope sigmoid_slope(float g)
{
    float e = mglu_exp_nonpositive(-absolute(g), 0.0f);
    float r = 1.0f / (1.0f + e);

    return (slope){(g < 0.0f ? e : 1.0f) * r, e * r * r};
}

MGLU_INLINE slope silu_slope(float g, float beta)
{
    slope share = sigmoid_slope(beta * g);

    return (slope){gated(g, share.value), share.value + gated(beta * g, share.derivative)};
}

MGLU_INLINE slope gelu_tanh_slope(float g)
{
    const float linear = 0x1.988454p+0f, cubic = 0x1.2444f2p-4f;
    float square = g * g;
    slope share = sigmoid_slope(g * (linear + cubic * square));

    return (slope){gated(g, share.value), share.value + gated(g * (linear + 3.0f * cubic * square), share.derivative)};
}

/* Phi(g) + g phi(g). The exponent's square is exact in two parts, as in normal_tail(). */
MGLU_INLINE slope gelu_erf_slope(float g)
{
    const float inverse_root_of_2_pi = 0x1.988454p-2f;
    float a = absolute(g), c = a > 13.5f ? 13.5f : a;
    float upper = mglu_f32_from_bits(mglu_f32_bits(c) & 0xfffff000u);
    float e = mglu_exp_nonpositive(-0.5f * (upper * upper), -0.5f * ((c - upper) * (c + upper)));
    float tail = normal_tail(a), share = g < 0.0f ? tail : 1.0f - tail;

    return (slope){gated(g, share), share + gated(g, inverse_root_of_2_pi * e)};
}

/* A constant `activation` selects one of the functions. */
MGLU_INLINE slope activation_slope(float g, mglu_activation activation, float beta)
{
    switch (activation) {
    case MGLU_ACTIVATION_SILU:
        return silu_slope(g, beta);
    case MGLU_ACTIVATION_GELU_ERF:
        return gelu_erf_slope(g);
    case MGLU_ACTIVATION_GELU_TANH:
        return gelu_tanh_slope(g);
    case MGLU_ACTIVATION_RELU:
        return (slope){relu(g), g <= 0.0f ? 0.0f : 1.0f};
    case MGLU_ACTIVATION_SIGMOID:
        return sigmoid_slope(g);
    case MGLU_ACTIVATION_IDENTITY:
        return (slope){g, 1.0f};
    }
    return (slope){NAN, NAN};
}

#endif
