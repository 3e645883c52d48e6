/* SPDX-License-Identifier: MIT */
#ifndef MGLU_CORE_ACTIVATE_H
#define MGLU_CORE_ACTIVATE_H

/*
 * The activations, on one float each, for loops that the compiler vectorises: no branches, no calls, only arithmetic
 * that rounds identically everywhere. NaN stays NaN: a comparison with NaN is false, for which every select below
 * returns its computed operand.
 *
 * For C and OpenCL C (embedded there at build time).
 */

#include "common/core/exp.h"

#include <mglu/types.h>

#include <math.h>

MGLU_INLINE float absolute(float g)
{
    return mglu_f32_from_bits(mglu_f32_bits(g) & 0x7fffffffu);
}

MGLU_INLINE float sigmoid(float g)
{
    float e = mglu_exp_nonpositive(-absolute(g), 0.0f);
    return (g < 0.0f ? e : 1.0f) / (1.0f + e);
}

/* g * share, and 0 for share = 0, the limit at infinity. */
MGLU_INLINE float gated(float g, float share)
{
    return share == 0.0f ? 0.0f : g * share;
}

MGLU_INLINE float silu(float g, float beta)
{
    return gated(g, sigmoid(beta * g));
}

/* g * sigmoid(2 sqrt(2 / pi) (g + 0.044715 g^3)) = g * (1 + tanh(...)) / 2 */
MGLU_INLINE float gelu_tanh(float g)
{
    const float linear = 0x1.988454p+0f, cubic = 0x1.2444f2p-4f;
    return gated(g, sigmoid(g * (linear + cubic * (g * g))));
}

/*
 * The normal distribution's Phi(-a), a >= 0, as e^(-a^2 / 2) R(a). R is a polynomial in t = (a - 3) / (a + 3): a
 * minimax fit (Lawson's iteration on Chebyshev nodes, in double) of e^(a^2 / 2) erfc(a / sqrt(2)) / 2 on 0 <= a
 * <= 13.5, with a relative error of 0.11 * 2^-24. Beyond, e^(-a^2 / 2) is 0 here. The square is exact in two parts, as
 * its error would grow in the exponential.
 */
MGLU_INLINE float normal_tail(float a)
{
    float c = a > 13.5f ? 13.5f : a;
    float upper = mglu_f32_from_bits(mglu_f32_bits(c) & 0xfffff000u);
    float e = mglu_exp_nonpositive(-0.5f * (upper * upper), -0.5f * ((c - upper) * (c + upper)));
    float t = (c - 3.0f) / (c + 3.0f);

    float r = 0x1.c6405ap-15f;
    r = r * t + 0x1.e6b26ap-14f;
    r = r * t - 0x1.646c42p-12f;
    r = r * t - 0x1.01ff66p-10f;
    r = r * t + 0x1.7cb9a6p-9f;
    r = r * t + 0x1.91e0f6p-8f;
    r = r * t - 0x1.7a9458p-5f;
    r = r * t + 0x1.f8baccp-4f;
    r = r * t - 0x1.a6b66ap-3f;
    r = r * t + 0x1.f1b89cp-4f;
    return e * r;
}

MGLU_INLINE float gelu_erf(float g)
{
    float tail = normal_tail(absolute(g));
    return gated(g, g < 0.0f ? tail : 1.0f - tail);
}

MGLU_INLINE float relu(float g)
{
    return g < 0.0f ? 0.0f : g;
}

#ifndef __OPENCL_C_VERSION__
_Static_assert(MGLU_ACTIVATION_COUNT == 6, "a new activation needs its case in activate()");
#endif

/* NaN for an unknown activation, so that it cannot be mistaken for a result. `beta` is for SiLU. */
MGLU_INLINE float activate(float g, mglu_activation activation, float beta)
{
    switch (activation) {
    case MGLU_ACTIVATION_SILU:
        return silu(g, beta);
    case MGLU_ACTIVATION_GELU_ERF:
        return gelu_erf(g);
    case MGLU_ACTIVATION_GELU_TANH:
        return gelu_tanh(g);
    case MGLU_ACTIVATION_RELU:
        return relu(g);
    case MGLU_ACTIVATION_SIGMOID:
        return sigmoid(g);
    case MGLU_ACTIVATION_IDENTITY:
        return g;
    }
    return NAN;
}

#endif
