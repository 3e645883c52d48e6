/* SPDX-License-Identifier: MIT */
#include "backends/ref/kernels/estimate.h"
#include "backends/ref/kernels/kernels.h"

static double sigmoid(double t)
{
    return t >= 0 ? 1 / (1 + exp(-t)) : exp(t) / (1 + exp(t));
}

/* g * s(g) for an s in 0..1, with the limit 0 where s vanishes at an infinite g. NaN stays NaN. */
static double gated(double gate, double share)
{
    return share == 0 ? 0 : gate * share;
}

/* The argument of the sigmoid in the tanh form of GELU. */
static double gelu_argument(double gate)
{
    return 2 * sqrt(2 / M_PI) * (gate + 0.044715 * gate * gate * gate);
}

double mglu_ref_activate(const mglu_layer_desc *desc, double gate)
{
    switch (desc->activation) {
    case MGLU_ACTIVATION_SILU:
        return gated(gate, sigmoid((double)desc->silu_beta * gate));
    case MGLU_ACTIVATION_GELU_ERF:
        return gated(gate, 0.5 * erfc(-gate * M_SQRT1_2));
    case MGLU_ACTIVATION_GELU_TANH:
        return gated(gate, sigmoid(gelu_argument(gate)));
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

/* d sigmoid(t) / dt; its factor by which an infinite t is multiplied is 0. */
static double sigmoid_slope(double t)
{
    return sigmoid(t) * sigmoid(-t);
}

double mglu_ref_slope(const mglu_layer_desc *desc, double gate)
{
    const double beta = (double)desc->silu_beta;

    switch (desc->activation) {
    case MGLU_ACTIVATION_SILU:
        return sigmoid(beta * gate) + gated(beta * gate, sigmoid_slope(beta * gate));
    case MGLU_ACTIVATION_GELU_ERF:
        return 0.5 * erfc(-gate * M_SQRT1_2) + gated(gate, exp(-gate * gate / 2) / sqrt(2 * M_PI));
    case MGLU_ACTIVATION_GELU_TANH:
        return sigmoid(gelu_argument(gate)) +
               gated(gate * 2 * sqrt(2 / M_PI) * (1 + 3 * 0.044715 * gate * gate), sigmoid_slope(gelu_argument(gate)));
    case MGLU_ACTIVATION_RELU:
        return gate != gate ? gate : gate > 0;
    case MGLU_ACTIVATION_SIGMOID:
        return sigmoid_slope(gate);
    case MGLU_ACTIVATION_IDENTITY:
        return 1;
    }
    return NAN;
}

/* The largest |g''|, and the difference of the largest and the smallest g', both rounded up. */
struct curvature {
    double steepest, range;
};

static struct curvature curvature_of(const mglu_layer_desc *desc)
{
    switch (desc->activation) {
    case MGLU_ACTIVATION_SILU:
        return (struct curvature){0.5 * fabs((double)desc->silu_beta), 1.2};
    case MGLU_ACTIVATION_GELU_ERF:
    case MGLU_ACTIVATION_GELU_TANH:
        return (struct curvature){0.798, 1.26};
    case MGLU_ACTIVATION_SIGMOID:
        return (struct curvature){0.0963, 0.25};
    default:
        return (struct curvature){0, 0};
    }
}

double mglu_ref_slope_error(const mglu_layer_desc *desc, double gate, double error)
{
    const struct curvature curvature = curvature_of(desc);
    const double scale = desc->activation == MGLU_ACTIVATION_SILU ? fabs((double)desc->silu_beta) : 1;

    if (desc->activation == MGLU_ACTIVATION_RELU)
        return fabs(gate) <= error && error > 0;
    if (curvature.range == 0)
        return 0;
    return fmin(curvature.steepest * error, curvature.range) + 16 * UNIT * (1 + scale * fabs(gate)) + (double)FLT_MIN;
}
