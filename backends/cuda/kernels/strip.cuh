/* SPDX-License-Identifier: MIT */
#ifndef MGLU_CUDA_STRIP_CUH
#define MGLU_CUDA_STRIP_CUH

/* What the kernels of both engines have in common: how a block of threads walks over its strip. */

#include "backends/cuda/kernels/device.cuh"
#include "backends/cuda/kernels/params.h"
#include "backends/cuda/kernels/tokens.cuh"

/* What a form means at compile time. */
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

MGLU_DEVICE uint64_t strip_address(const mglu_cuda_projection &p)
{
    return p.weights + (uint64_t)blockIdx.x * mglu_tile_blocks(p.columns) * p.block_bytes;
}

MGLU_DEVICE token_row row_of_token(const mglu_cuda_projection &p, int64_t token)
{
    return {element_address(p.x, token * p.x_stride, p.x_dtype), p.columns, p.x_dtype};
}

/* Asks for the first weights, which no launch writes, then waits for the launch that may write x. */
MGLU_DEVICE void begin(const mglu_cuda_projection &p)
{
    constexpr uint32_t LINE = 128;
    uint64_t bytes = (uint64_t)mglu_tile_blocks(p.columns) * p.block_bytes;

    let_next_launch_begin();
    if (threadIdx.x * LINE < bytes)
        prefetch((const char *)strip_address(p) + threadIdx.x * LINE);
    wait_for_previous_launch();
}

/* Where the words of the masks are that a token's terms ask for: all in turn, or those that routing chose. */
template <int MASKS> struct mask_planes {
    static constexpr int SLOTS = MASKS > 0 ? MASKS : 1;
    uint32_t offsets[SLOTS];
    int32_t terms;

    MGLU_METHOD mask_planes(const mglu_cuda_projection &p, int64_t token, uint32_t first_plane) : terms(p.terms)
    {
        const int32_t *ids = global<const int32_t>(p.mask_ids) + token * terms;
#pragma unroll
        for (int i = 0; i < MASKS; i++)
            offsets[i] = first_plane + (uint32_t)(p.mask_ids && i < terms ? ids[i] : i) * MGLU_TILE_MASK_BYTES;
    }

    /* The lane's words of a block, 0 where there are fewer terms than the kernel has masks. */
    MGLU_METHOD void load(uint64_t block, uint32_t (&words)[SLOTS]) const
    {
#pragma unroll
        for (int i = 0; i < MASKS; i++)
            words[i] = i < terms ? load_stream4((const uint32_t *)(block + offsets[i]) + lane_index()) : 0;
    }
};

#endif
