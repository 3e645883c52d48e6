/* SPDX-License-Identifier: MIT */

/* Every kernel, compiled for the host; those of the ring are in ring_kernels.cpp. */

#include "entries.hpp"
#include "shim.h"

#include "backends/cuda/kernels/mma_bf16.cu"
#include "backends/cuda/kernels/mma_f16.cu"
#include "backends/cuda/kernels/routing.cu"
#include "backends/cuda/kernels/simt_bf16.cu"
#include "backends/cuda/kernels/simt_f16.cu"
#include "backends/cuda/kernels/simt_f32.cu"
#include "backends/cuda/kernels/simt_q4_0.cu"
#include "backends/cuda/kernels/simt_q8_0.cu"

#include <cstring>

namespace
{

using shim::call;
using shim::entry;
using shim::find_ring_kernel;

#define PROJECTIONS_OF(name) PROJECTION(name##_xf32_sum) WIDENED(name)

// clang-format off
const entry entries[] = {
    PROJECTIONS_OF(mglu_simt_f32)
    PROJECTIONS_OF(mglu_simt_f16)
    PROJECTIONS_OF(mglu_simt_bf16)
    PROJECTIONS_OF(mglu_simt_q8_0)
    PROJECTIONS_OF(mglu_simt_q4_0)
    PROJECTIONS(mglu_simt_f16_xf16)
    PROJECTIONS(mglu_simt_bf16_xbf16)
    PROJECTIONS(mglu_mma8_f16_xf16)
    PROJECTIONS(mglu_mma8_bf16_xbf16)
    PROJECTIONS_TO_8(mglu_mma16_f16_xf16)
    PROJECTIONS_TO_8(mglu_mma16_bf16_xbf16)
    {"mglu_route", call<mglu_cuda_routing, mglu_route>},
};
// clang-format on

uint32_t seed = 1;

const entry *find(const char *symbol)
{
    for (const entry &one : entries)
        if (!strcmp(one.symbol, symbol))
            return &one;
    return find_ring_kernel(symbol);
}

} // namespace

int mglu_shim_has(const char *symbol)
{
    return find(symbol) != nullptr;
}

void mglu_shim_launch(const char *symbol, uint32_t grid_x, uint32_t grid_y, uint32_t block_x, uint32_t shared_bytes,
                      const void *argument)
{
    const entry *found = find(symbol);

    if (!found)
        shim::fault("a launch of a kernel that is not there");
    shim::launch({grid_x, grid_y, 1}, {block_x, 1, 1}, shared_bytes, seed, found->body, argument);
}

void mglu_shim_shuffle(uint32_t chosen)
{
    seed = chosen;
}
