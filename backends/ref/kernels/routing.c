/* SPDX-License-Identifier: MIT */
#include "backends/ref/kernels/estimate.h"
#include "backends/ref/kernels/kernels.h"

#include <string.h>

/* All masks with weight 1. */
static void route_to_all(const struct mglu_ref_layer *layer, struct mglu_ref_routing *routing)
{
    routing->count = layer->packed.kind == MGLU_KIND_MASKED ? layer->packed.n_masks : 1;
    for (int32_t i = 0; i < routing->count; i++) {
        routing->ids[i] = i;
        routing->p[i] = 1;
    }
}

static void read_row(const mglu_input *input, int64_t token, size_t element, int32_t index, void *target)
{
    size_t at = ((size_t)token * (size_t)input->row_stride + (size_t)index) * element;

    memcpy(target, (const unsigned char *)input->data + input->byte_offset + at, element);
}

static int route_given(const struct mglu_ref_layer *layer, const mglu_forward_args *args, int64_t token,
                       struct mglu_ref_routing *routing)
{
    int in_range = 1;

    routing->count = layer->desc.top_k;
    for (int32_t i = 0; i < routing->count; i++) {
        float p;
        read_row(&args->routing_ids, token, sizeof(int32_t), i, &routing->ids[i]);
        read_row(&args->routing_weights, token, sizeof(float), i, &p);
        routing->p[i] = (double)p;
        if (routing->ids[i] < 0 || routing->ids[i] >= layer->packed.n_masks) {
            routing->ids[i] = 0;
            in_range = 0;
        }
    }
    for (int32_t i = 0; i < routing->count && !in_range; i++)
        routing->p[i] = NAN;
    return in_range;
}

/* The unused mask with the largest logit; the lower id on a tie. */
static int32_t largest(const double *logits, const int *used, int32_t count)
{
    int32_t best = -1;

    for (int32_t i = 0; i < count; i++)
        if (!used[i] && (best < 0 || logits[i] > logits[best]))
            best = i;
    return best;
}

/* log of the sum of exp(logit) over the selected masks other than i, which are in descending order. */
static double log_of_others(const double *logits, const struct mglu_ref_routing *routing, int32_t i)
{
    double largest = logits[routing->ids[i == 0]], sum = 0;

    for (int32_t k = 0; k < routing->count; k++)
        sum += k != i ? exp(logits[routing->ids[k]] - largest) : 0;
    return largest + log(sum);
}

/* The largest change of p_i = 1 / (1 + exp(others - l_i)) where each logit is off by up to `error`. */
static double softmax_change(const double *logits, const struct mglu_ref_routing *routing, int32_t i, double error)
{
    double distance = log_of_others(logits, routing, i) - logits[routing->ids[i]];

    return fmax(1 / (1 + exp(distance - 2 * error)) - routing->p[i],
                routing->p[i] - 1 / (1 + exp(distance + 2 * error)));
}

/* p = softmax of the selected logits, each of which may be off by `logit_error`. */
static void softmax(const double *logits, double logit_error, struct mglu_ref_routing *routing)
{
    double sum = 0;

    for (int32_t i = 0; i < routing->count; i++) {
        routing->p[i] = exp(logits[routing->ids[i]] - logits[routing->ids[0]]);
        sum += routing->p[i];
    }
    for (int32_t i = 0; i < routing->count; i++)
        routing->p[i] /= sum;
    for (int32_t i = 0; i < routing->count && routing->count > 1; i++) {
        double distance = fabs(logits[routing->ids[i]] - logits[routing->ids[0]]);
        routing->p_error[i] = softmax_change(logits, routing, i, logit_error) +
                              routing->p[i] * (16 + 2 * distance) * UNIT + (double)FLT_MIN;
    }
}

void mglu_ref_route_logits(const double *logits, int32_t count, int32_t top_k, double logit_error,
                           struct mglu_ref_routing *routing)
{
    int used[MGLU_MAX_MASKS] = {0}, is_nan = 0;

    for (int32_t i = 0; i < count; i++)
        is_nan |= isnan(logits[i]);
    routing->count = top_k;
    for (int32_t i = 0; i < top_k; i++) {
        routing->ids[i] = largest(logits, used, count);
        used[routing->ids[i]] = 1;
    }
    softmax(logits, logit_error, routing);
    for (int32_t i = 0; i < top_k && is_nan; i++)
        routing->p[i] = NAN;
}

static void route_by_router(const struct mglu_ref_layer *layer, const double *x, const mglu_accuracy *accuracy,
                            struct mglu_ref_routing *routing)
{
    const mglu_packed_weights *packed = &layer->packed;
    double logits[MGLU_MAX_MASKS], error = 0;
    struct mglu_ref_sums sums;

    for (int32_t i = 0; i < packed->n_masks; i++) {
        mglu_ref_row_sums(mglu_ref_row(&packed->router, MGLU_DTYPE_F32, i), packed->hidden_size, x, NULL, 0, NULL, 0,
                          &sums);
        logits[i] = sums.total;
        if (accuracy)
            error = fmax(error, mglu_ref_sum_error(*accuracy, packed->hidden_size, &sums));
    }
    mglu_ref_route_logits(logits, packed->n_masks, layer->desc.top_k, error, routing);
}

int mglu_ref_route(const struct mglu_ref_layer *layer, const mglu_forward_args *args, int64_t token, const double *x,
                   const mglu_accuracy *accuracy, struct mglu_ref_routing *routing)
{
    *routing = (struct mglu_ref_routing){0};
    if (layer->desc.top_k == 0)
        route_to_all(layer, routing);
    else if (args->routing_ids.data)
        return route_given(layer, args, token, routing);
    else
        route_by_router(layer, x, accuracy, routing);
    return 1;
}
