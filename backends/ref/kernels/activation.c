/* SPDX-License-Identifier: MIT */
#include "backends/ref/kernels/kernels.h"

#include <float.h>
#include <math.h>

/* u of docs/semantics.md: half a unit in the last place of f32 at 1. */
#define UNIT (FLT_EPSILON / 2.0)

static double sigmoid(double t)
{
    return t >= 0 ? 1 / (1 + exp(-t)) : exp(t) / (1 + exp(t));
}

/* g * s(g) for an s in 0..1, with the limit 0 where s vanishes at an infinite g. NaN stays NaN. */
static double gated(double gate, double share)
{
    return share == 0 ? 0 : gate * share;
}

double mglu_ref_activate(const mglu_layer_desc *desc, double gate)
{
    switch (desc->activation) {
    case MGLU_ACTIVATION_SILU:
        return gated(gate, sigmoid((double)desc->silu_beta * gate));
    case MGLU_ACTIVATION_GELU_ERF:
        return gated(gate, 0.5 * erfc(-gate * M_SQRT1_2));
    case MGLU_ACTIVATION_GELU_TANH:
        return gated(gate, sigmoid(2 * sqrt(2 / M_PI) * (gate + 0.044715 * gate * gate * gate)));
    case MGLU_ACTIVATION_RELU:
        return gate < 0 ? 0 : gate;
    case MGLU_ACTIVATION_SIGMOID:
        return sigmoid(gate);
    case MGLU_ACTIVATION_IDENTITY:
        return gate;
    }
    return NAN;
}

/* The minimum of the activation: the bounds of an interval that contains it are not at its ends. */
static double turning_point(const mglu_layer_desc *desc)
{
    switch (desc->activation) {
    case MGLU_ACTIVATION_SILU:
        return -1.2784645427610738 / (double)desc->silu_beta;
    case MGLU_ACTIVATION_GELU_ERF:
        return -0.7517915241;
    case MGLU_ACTIVATION_GELU_TANH:
        return -0.7524614220;
    default:
        return NAN;
    }
}

/* The error bound of the activation itself. */
static double own_error(const mglu_layer_desc *desc, double gate)
{
    switch (desc->activation) {
    case MGLU_ACTIVATION_RELU:
    case MGLU_ACTIVATION_IDENTITY:
        return 0;
    case MGLU_ACTIVATION_SIGMOID:
        return 4 * UNIT * (1 + fabs(gate)) * sigmoid(gate) + FLT_MIN;
    default:
        return 8 * UNIT * fabs(gate) + FLT_MIN;
    }
}

double mglu_ref_activation_error(const mglu_layer_desc *desc, double gate, double error)
{
    double at = mglu_ref_activate(desc, gate), turn = turning_point(desc);
    double worst =
        fmax(fabs(mglu_ref_activate(desc, gate - error) - at), fabs(mglu_ref_activate(desc, gate + error) - at));

    if (turn > gate - error && turn < gate + error)
        worst = fmax(worst, fabs(mglu_ref_activate(desc, turn) - at));
    return worst + own_error(desc, gate);
}
