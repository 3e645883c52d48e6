/* SPDX-License-Identifier: MIT */

/* The masks and weights of each token: given by the caller or computed by the router. */

#include "backends/cuda/kernels/elements.cuh"
#include "backends/cuda/kernels/params.h"

enum { WARPS = MGLU_CUDA_ROUTE_THREADS / 32 };

MGLU_DEVICE float not_a_number()
{
    return __uint_as_float(0x7fc00000u);
}

/* The output for one token. */
struct token_routing {
    int32_t *ids;
    float *weights;
};

/* Ids out of range are replaced by 0, so that later kernels need not check them, and the token becomes NaN. */
MGLU_DEVICE void route_given(const mglu_cuda_routing &p, int64_t token, token_routing out)
{
    const int32_t *ids = global<const int32_t>(p.given_ids) + token * p.ids_stride;
    const float *weights = global<const float>(p.given_weights) + token * p.weights_stride;
    bool in_range = true;

    for (int i = 0; i < p.top_k; i++)
        in_range = in_range && ids[i] >= 0 && ids[i] < p.n_masks;
    for (int i = 0; i < p.top_k; i++) {
        out.ids[i] = in_range ? ids[i] : 0;
        out.weights[i] = in_range ? weights[i] : not_a_number();
    }
    if (!in_range)
        *global<uint32_t>(p.bad_routing) = 1;
}

/* Columns are distributed over the threads; their sums are added across the warp. All lanes get the result. */
MGLU_DEVICE float sum_of_warp(const mglu_cuda_routing &p, int64_t token, int mask, uint32_t thread)
{
    const float *row = global<const float>(p.router) + mask * p.router_stride;
    const uint64_t x = element_address(p.x, token * p.x_stride, p.x_dtype);
    float sum = 0;

    for (uint32_t c = thread; c < p.columns; c += MGLU_CUDA_ROUTE_THREADS)
        sum = fmaf(row[c], load_element(element_address(x, c, p.x_dtype), p.x_dtype), sum);
    for (int distance = 16; distance > 0; distance /= 2)
        sum += __shfl_xor_sync(0xffffffffu, sum, distance);
    return sum;
}

/* The unused mask with the largest logit; the lower id on a tie. */
MGLU_DEVICE int largest(const float *logits, uint32_t used, int count)
{
    int best = -1;

    for (int i = 0; i < count; i++)
        if (!(used >> i & 1) && (best < 0 || logits[i] > logits[best]))
            best = i;
    return best;
}

/* The top_k largest logits and their softmax. A NaN among all logits makes every weight NaN. */
MGLU_DEVICE void select_largest(const mglu_cuda_routing &p, const float *logits, token_routing out)
{
    uint32_t used = 0;
    float sum = 0;
    bool has_nan = false;

    for (int i = 0; i < p.n_masks; i++)
        has_nan = has_nan || logits[i] != logits[i];
    for (int i = 0; i < p.top_k; i++) {
        out.ids[i] = largest(logits, used, p.n_masks);
        used |= 1u << out.ids[i];
        sum += expf(logits[out.ids[i]] - logits[out.ids[0]]);
    }
    for (int i = 0; i < p.top_k; i++)
        out.weights[i] = has_nan ? not_a_number() : expf(logits[out.ids[i]] - logits[out.ids[0]]) / sum;
}

MGLU_DEVICE void route_by_router(const mglu_cuda_routing &p, int64_t token, token_routing out)
{
    float *parts = shared_floats(); /* [mask][warp] */

    for (int mask = 0; mask < p.n_masks; mask++) {
        float sum = sum_of_warp(p, token, mask, threadIdx.x);
        if (threadIdx.x % 32 == 0)
            parts[mask * WARPS + threadIdx.x / 32] = sum;
    }
    __syncthreads();
    if (threadIdx.x > 0)
        return;
    for (int mask = 0; mask < p.n_masks; mask++) {
        const float *of_mask = parts + mask * WARPS;
        parts[mask] = of_mask[0] + of_mask[1] + of_mask[2] + of_mask[3];
    }
    select_largest(p, parts, out);
}

/* One token per thread block. */
MGLU_KERNEL void __launch_bounds__(MGLU_CUDA_ROUTE_THREADS) mglu_route(MGLU_PARAMETER mglu_cuda_routing p)
{
    const int64_t token = blockIdx.x;

    let_next_launch_begin();
    wait_for_previous_launch();
    const token_routing out = {global<int32_t>(p.mask_ids) + token * p.top_k,
                               global<float>(p.mask_weights) + token * p.top_k};
    if (!p.given_ids)
        route_by_router(p, token, out);
    else if (threadIdx.x == 0)
        route_given(p, token, out);
}
