/* SPDX-License-Identifier: MIT */
#ifndef MGLU_CUDA_STRIP_CUH
#define MGLU_CUDA_STRIP_CUH

/* Common to the kernels of both engines: how a thread block traverses its strip. */

#include "backends/cuda/kernels/device.cuh"
#include "backends/cuda/kernels/params.h"
#include "backends/cuda/kernels/tokens.cuh"

/* The compile-time properties of a form. */
template <mglu_cuda_form FORM> struct form_traits {
    static constexpr int MASKS = FORM < MGLU_CUDA_MASKS_1 ? 0 : 1 << (FORM - MGLU_CUDA_MASKS_1);
    static constexpr int MATRICES = FORM == MGLU_CUDA_GLU ? 2 : 1;
    static constexpr int SUMS = MATRICES + MASKS;
};

MGLU_DEVICE uint32_t lane_index()
{
    return threadIdx.x % 32;
}

MGLU_DEVICE uint32_t warp_index()
{
    return threadIdx.x / 32;
}

MGLU_DEVICE uint32_t warp_count()
{
    return blockDim.x / 32;
}

MGLU_DEVICE uint64_t strip_address(const mglu_cuda_projection &p, uint32_t strip)
{
    return p.weights + (uint64_t)strip * mglu_tile_blocks(p.columns) * p.block_bytes;
}

/* Prefetches the first weights, which no launch writes, then waits for the launch that may write x. */
MGLU_DEVICE void begin(const mglu_cuda_projection &p)
{
    constexpr uint32_t LINE = 128;
    uint64_t bytes = (uint64_t)mglu_tile_blocks(p.columns) * p.block_bytes;

    let_next_launch_begin();
    if (threadIdx.x * LINE < bytes)
        prefetch((const char *)strip_address(p, blockIdx.y) + threadIdx.x * LINE);
    wait_for_previous_launch();
}

#endif
