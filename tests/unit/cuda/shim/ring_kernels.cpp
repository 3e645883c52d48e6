/* SPDX-License-Identifier: MIT */

/* The kernels of the ring, compiled for the host. */

#include "entries.hpp"

#include "backends/cuda/kernels/ring_bf16.cu"
#include "backends/cuda/kernels/ring_f16.cu"
#include "backends/cuda/kernels/ring_f32.cu"
#include "backends/cuda/kernels/ring_q4_0.cu"
#include "backends/cuda/kernels/ring_q8_0.cu"

#include <cstring>

namespace
{

// clang-format off
const shim::entry entries[] = {
    WIDENED(mglu_ring_f32)
    WIDENED(mglu_ring_f16)
    WIDENED(mglu_ring_bf16)
    WIDENED(mglu_ring_q8_0)
    WIDENED(mglu_ring_q4_0)
    PROJECTIONS(mglu_ring_f16_xf16)
    PROJECTIONS(mglu_ring_bf16_xbf16)
};
// clang-format on

} // namespace

const shim::entry *shim::find_ring_kernel(const char *symbol)
{
    for (const entry &one : entries)
        if (!strcmp(one.symbol, symbol))
            return &one;
    return nullptr;
}
