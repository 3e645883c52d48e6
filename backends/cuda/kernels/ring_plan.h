/* SPDX-License-Identifier: MIT */
#ifndef MGLU_CUDA_RING_PLAN_H
#define MGLU_CUDA_RING_PLAN_H

/*
 * The launch geometry of the ring kernels (ring.cuh), which depends on the device: a grid of as many blocks of threads
 * as are resident at a time, and in the shared memory of each a ring of weight blocks for each warp. Plain C.
 */

#include "backends/cuda/kernels/params.h"

/* What of a device decides. 0 multiprocessors: it has no ring kernels. */
struct mglu_cuda_ring_device {
    uint32_t multiprocessors;
    uint32_t shared_bytes; /* of each multiprocessor */
};

struct mglu_cuda_ring_plan {
    uint32_t warps;        /* that share a strip */
    uint32_t depth;        /* weight blocks in the ring of a warp; 0: even two do not fit */
    uint32_t resident;     /* blocks of threads on a multiprocessor */
    uint32_t shared_bytes; /* dynamic, of a block of threads */
};

enum {
    MGLU_CUDA_RING_LEAST_DEPTH = 2,
    MGLU_CUDA_RING_MOST_DEPTH = 8,
    MGLU_CUDA_RING_RESERVED_BYTES = 1 << 10 /* that the driver takes for each block of threads */
};

/* Warps that share a strip: by its columns only, as SIMT has them where strips are many. */
static inline uint32_t mglu_cuda_ring_warps(uint32_t columns)
{
    const struct mglu_cuda_variant variant = {MGLU_CUDA_RING, MGLU_DTYPE_F32, MGLU_CUDA_X_F32, MGLU_CUDA_MASKS_1};

    return mglu_cuda_warps(variant, MGLU_TILE_ROWS, columns, 0);
}

/* Of the largest block of threads, and resident on a multiprocessor. The sums of 8 masks and more need registers. */
static inline uint32_t mglu_cuda_ring_most_warps(enum mglu_cuda_form form)
{
    return form >= MGLU_CUDA_MASKS_8 ? 8 : 16;
}

/* Shared memory of a block of threads before the rings: its sums, its stages of x and its barriers. */
MGLU_TILE_FN uint32_t mglu_cuda_ring_offset(uint32_t sums, uint32_t warps)
{
    return warps * (sums * MGLU_TILE_ROWS * (uint32_t)sizeof(float) +
                    (uint32_t)MGLU_CUDA_STAGE_FLOATS * (uint32_t)sizeof(float) +
                    (uint32_t)MGLU_CUDA_RING_MOST_DEPTH * (uint32_t)sizeof(uint64_t));
}

/* The most dynamic shared memory of one block of threads. */
static inline uint32_t mglu_cuda_ring_most_shared(struct mglu_cuda_ring_device device)
{
    return device.shared_bytes > MGLU_CUDA_RING_RESERVED_BYTES ? device.shared_bytes - MGLU_CUDA_RING_RESERVED_BYTES
                                                               : 0;
}

/* How deep the rings are where so many blocks of threads share a multiprocessor. */
static inline uint32_t mglu_cuda_ring_depth(struct mglu_cuda_ring_device device, uint32_t resident, uint32_t offset,
                                            uint32_t slice)
{
    const uint32_t share = device.shared_bytes / resident, taken = offset + MGLU_CUDA_RING_RESERVED_BYTES;
    const uint32_t depth = share > taken ? (share - taken) / slice : 0, most = MGLU_CUDA_RING_MOST_DEPTH;

    return depth < most ? depth : most;
}

/*
 * As many resident warps as the largest block of threads has, for which the registers of a multiprocessor suffice by
 * the launch bounds; fewer where shared memory has no room for two weight blocks a warp. The warps of a strip are those
 * of the SIMT kernel, so that the bits are its bits.
 */
static inline struct mglu_cuda_ring_plan
mglu_cuda_ring_plan(struct mglu_cuda_ring_device device, enum mglu_cuda_form form, uint32_t warps, uint32_t block_bytes)
{
    const uint32_t most = mglu_cuda_ring_most_warps(form), capped = warps < most ? warps : most;
    const uint32_t offset = mglu_cuda_ring_offset(mglu_cuda_sums(form), capped), slice = capped * block_bytes;
    struct mglu_cuda_ring_plan plan = {capped, 0, 0, 0};

    plan.resident = most / capped;
    plan.depth = mglu_cuda_ring_depth(device, plan.resident, offset, slice);
    while (plan.depth < MGLU_CUDA_RING_LEAST_DEPTH && plan.resident > 1) {
        plan.resident--;
        plan.depth = mglu_cuda_ring_depth(device, plan.resident, offset, slice);
    }
    if (plan.depth < MGLU_CUDA_RING_LEAST_DEPTH)
        plan.depth = 0;
    plan.shared_bytes = offset + plan.depth * slice;
    return plan;
}

static inline struct mglu_cuda_launch mglu_cuda_ring_launch(struct mglu_cuda_ring_device device,
                                                            struct mglu_cuda_ring_plan plan, uint32_t rows)
{
    const uint32_t strips = mglu_tile_strips(rows), resident = device.multiprocessors * plan.resident;
    struct mglu_cuda_launch launch = {strips < resident ? strips : resident, 1, plan.warps * 32, plan.shared_bytes};

    return launch;
}

#endif
