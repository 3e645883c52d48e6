/* SPDX-License-Identifier: MIT */
#ifndef MGLU_CUDA_ACTIVATE_CUH
#define MGLU_CUDA_ACTIVATE_CUH

/* The activations, within the error bound of docs/semantics.md: expf and erff are accurate to 2 ulp. */

#include "backends/cuda/kernels/device.cuh"

#include <mglu/types.h>

/* Does not overflow for either sign; NaN for NaN. */
MGLU_DEVICE float sigmoid(float t)
{
    float e = expf(-fabsf(t));

    return (t < 0 ? e : 1.0f) / (1.0f + e);
}

/* gate * share, with the limit 0 where the share vanishes at an infinite gate. */
MGLU_DEVICE float gated(float gate, float share)
{
    return share == 0 ? 0.0f : gate * share;
}

static_assert(MGLU_ACTIVATION_COUNT == 6, "a new activation needs its case in activate()");

/* NaN for an unknown activation, so that it cannot be mistaken for a result. */
MGLU_DEVICE float activate(int32_t activation, float silu_beta, float gate)
{
    switch (activation) {
    case MGLU_ACTIVATION_SILU:
        return gated(gate, sigmoid(silu_beta * gate));
    case MGLU_ACTIVATION_GELU_ERF:
        return gated(gate, 0.5f * (1.0f + erff(gate * 0.707106781f)));
    case MGLU_ACTIVATION_GELU_TANH:
        return gated(gate, sigmoid(1.59576912f * (gate + 0.044715f * gate * gate * gate)));
    case MGLU_ACTIVATION_RELU:
        return gate < 0 ? 0.0f : gate;
    case MGLU_ACTIVATION_SIGMOID:
        return sigmoid(gate);
    case MGLU_ACTIVATION_IDENTITY:
        return gate;
    default:
        return nanf("");
    }
}

#endif
