/* SPDX-License-Identifier: MIT */
#include "backends/cpu/train.h"
#include "common/core/float_environment.h"

#include <string.h>

/* The weights of masks in training, and the gradients of the router's logits. */

static float *routing_array(const struct mglu_cpu_train_call *call, size_t offset, int32_t mask, int64_t token)
{
    const int64_t padded = mglu_cpu_pieces(call->tokens, MGLU_CPU_TRAIN_BLOCK) * MGLU_CPU_TRAIN_BLOCK;

    return (float *)(void *)(call->workspace + offset) + mask * padded + token;
}

/* The weights of a mask for up to 32 tokens of the chunk: negative where a token does not use it. */
const float *mglu_cpu_train_p(const struct mglu_cpu_train_call *call, int32_t mask, int64_t token)
{
    static const float ones[MGLU_CPU_TRAIN_BLOCK] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
                                                     1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};

    return call->train->desc.top_k ? routing_array(call, call->layout.p, mask, token) : ones;
}

float *mglu_cpu_train_dp(const struct mglu_cpu_train_call *call, int32_t mask, int64_t token)
{
    return routing_array(call, call->layout.dp, mask, token);
}

static void route_token(const struct mglu_cpu_train_call *call, int64_t token)
{
    const mglu_train_desc *desc = &call->train->desc;
    const mglu_input *from = &call->inputs->router_logits;
    float logits[MGLU_MAX_MASKS], p[MGLU_MAX_MASKS];
    int32_t ids[MGLU_MAX_MASKS];

    memcpy(
        logits,
        mglu_cpu_element(from->data, from->byte_offset, from->row_stride, call->first_token + token, 0, sizeof *logits),
        (size_t)desc->n_masks * sizeof *logits);
    mglu_cpu_route_by_logits(logits, desc->n_masks, desc->top_k, ids, p);
    for (int32_t mask = 0; mask < desc->n_masks; mask++)
        *routing_array(call, call->layout.p, mask, token) = -1;
    for (int32_t i = 0; i < desc->top_k; i++)
        *routing_array(call, call->layout.p, ids[i], token) = p[i];
}

/* Before the first rows of a chunk of tokens. It runs in the caller's thread, as no part of a loop. */
void mglu_cpu_train_route(const struct mglu_cpu_train_call *call)
{
    MGLU_DEFAULT_FLOATS;

    for (int64_t token = 0; call->train->desc.top_k && token < call->tokens; token++)
        route_token(call, token);
    for (int32_t mask = 0; call->backward && mask < call->train->desc.n_masks; mask++)
        memset(mglu_cpu_train_dp(call, mask, 0), 0, (size_t)call->tokens * sizeof(float));
}

/* Through the softmax: p_i (dp_i - sum_j p_j dp_j). */
static void router_gradients_of_token(const struct mglu_cpu_train_call *call, int64_t token)
{
    const mglu_output *out = &call->backward->drouter_logits;
    float *to = (float *)(void *)mglu_cpu_element(out->data, out->byte_offset, out->row_stride,
                                                  call->first_token + token, 0, sizeof *to);
    float mean = 0;

    for (int32_t mask = 0; mask < call->train->desc.n_masks; mask++) {
        const float p = *mglu_cpu_train_p(call, mask, token);
        mean += p < 0 ? 0 : p * *mglu_cpu_train_dp(call, mask, token);
    }
    for (int32_t mask = 0; mask < call->train->desc.n_masks; mask++) {
        const float p = *mglu_cpu_train_p(call, mask, token);
        to[mask] = p < 0 ? 0 : p * (*mglu_cpu_train_dp(call, mask, token) - mean);
    }
}

/* After the last rows of a chunk of tokens, in the caller's thread too. */
void mglu_cpu_train_router_gradients(const struct mglu_cpu_train_call *call)
{
    MGLU_DEFAULT_FLOATS;

    for (int64_t token = 0; call->backward->drouter_logits.data && token < call->tokens; token++)
        router_gradients_of_token(call, token);
}
