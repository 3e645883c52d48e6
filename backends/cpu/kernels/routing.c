/* SPDX-License-Identifier: MIT */
#include "backends/cpu/cpu.h"
#include "common/core/exp.h"

#include <math.h>
#include <string.h>

/* The masks that a token sums over, their order and their weights. */

static void route_to_all(struct mglu_cpu_token_workspace *own, int32_t terms)
{
    for (int32_t i = 0; i < terms; i++) {
        own->mask_ids[i] = i;
        own->p[i] = 1.0f;
    }
}

/* Weights that make all of the token's outputs NaN. */
static void poison(float *p, int32_t terms)
{
    for (int32_t i = 0; i < terms; i++)
        p[i] = NAN;
}

static void route_given(const struct mglu_cpu_chunk *chunk, int64_t token, struct mglu_cpu_token_workspace *own)
{
    const mglu_input *ids = &chunk->args->routing_ids, *weights = &chunk->args->routing_weights;
    const int32_t terms = chunk->layer->plan.terms, n_masks = chunk->layer->weights->packed.n_masks;
    const int64_t row = chunk->first_token + token;
    int in_range = 1;

    memcpy(own->mask_ids, mglu_cpu_element(ids->data, ids->byte_offset, ids->row_stride, row, 0, sizeof(int32_t)),
           (size_t)terms * sizeof(int32_t));
    memcpy(own->p, mglu_cpu_element(weights->data, weights->byte_offset, weights->row_stride, row, 0, sizeof(float)),
           (size_t)terms * sizeof(float));
    for (int32_t i = 0; i < terms; i++) {
        if (own->mask_ids[i] < 0 || own->mask_ids[i] >= n_masks) {
            own->mask_ids[i] = 0;
            in_range = 0;
        }
    }
    if (!in_range) {
        poison(own->p, terms);
        atomic_store(&chunk->queue->bad_routing, 1);
    }
}

/* Sorts the ids of the `terms` largest logits to the front, in descending order; the lower id first on a tie. */
static void select_largest(const float *logits, int32_t n_masks, int32_t *mask_ids, int32_t terms)
{
    for (int32_t i = 0; i < n_masks; i++) {
        int32_t place = i < terms ? i : terms;
        while (place > 0 && logits[mask_ids[place - 1]] < logits[i]) {
            if (place < terms)
                mask_ids[place] = mask_ids[place - 1];
            place--;
        }
        if (place < terms)
            mask_ids[place] = i;
    }
}

static void softmax(const float *logits, const int32_t *mask_ids, int32_t terms, float *p)
{
    const float largest = logits[mask_ids[0]];
    float sum = 0;

    for (int32_t i = 0; i < terms; i++) {
        p[i] = mglu_exp_nonpositive(logits[mask_ids[i]] - largest, 0.0f);
        sum += p[i];
    }
    for (int32_t i = 0; i < terms; i++)
        p[i] /= sum;
}

/* The masks of the largest logits and their weights; NaN weights if any logit is NaN. */
void mglu_cpu_route_by_logits(const float *logits, int32_t n_masks, int32_t terms, int32_t *mask_ids, float *p)
{
    int is_nan = 0;

    select_largest(logits, n_masks, mask_ids, terms);
    softmax(logits, mask_ids, terms, p);
    for (int32_t i = 0; i < n_masks; i++)
        is_nan |= isnan(logits[i]);
    if (is_nan)
        poison(p, terms);
}

static void route_by_router(const struct mglu_cpu_chunk *chunk, struct mglu_cpu_token_workspace *own)
{
    const struct mglu_cpu_layer *layer = chunk->layer;
    const int32_t n_masks = layer->weights->packed.n_masks;
    float logits[MGLU_CPU_BLOCK_ROWS];
    const struct mglu_cpu_gemv job = {
        .matrix = &layer->weights->router, .rows = n_masks, .x = own->x, .totals = logits};

    layer->backend->isa->gemv[MGLU_DTYPE_F32](&job);
    mglu_cpu_route_by_logits(logits, n_masks, layer->plan.terms, own->mask_ids, own->p);
}

_Static_assert(MGLU_MAX_MASKS <= MGLU_CPU_BLOCK_ROWS, "a router's rows make one block");

void mglu_cpu_route(const struct mglu_cpu_chunk *chunk, int64_t token)
{
    const struct mglu_cpu_layer *layer = chunk->layer;
    struct mglu_cpu_token_workspace own = mglu_cpu_token_workspace(chunk, token);

    if (layer->desc.top_k == 0)
        route_to_all(&own, layer->plan.terms);
    else if (chunk->args->routing_ids.data)
        route_given(chunk, token, &own);
    else
        route_by_router(chunk, &own);
}
