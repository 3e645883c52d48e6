/* SPDX-License-Identifier: MIT */
#ifndef MGLU_CUDA_RING_CUH
#define MGLU_CUDA_RING_CUH

/*
 * The sums of simt.cuh, bit for bit, by blocks of threads that stay on the device: each takes strip after strip, and
 * each of its warps copies the weight blocks of its share, with their masks, into a ring of its own in shared memory.
 * The copies run ahead of the sums, into the strips that follow, so that memory is read while a strip is finished.
 *
 * The warp that has read a block is the one that copies the next into its place: the order among its lanes suffices,
 * and only the arrival of copies needs a barrier in memory.
 */

#include "backends/cuda/kernels/ring_plan.h"
#include "backends/cuda/kernels/simt.cuh"

/* The ring of a warp. Lane 0 copies, all lanes read. */
struct block_ring {
    const mglu_cuda_projection &p;
    uint64_t *full; /* barriers, one for each place */
    char *places;
    uint32_t place, parity; /* of the block that is read next */
    uint32_t strip, block;  /* of the block that is copied next */
    int64_t token;

    MGLU_METHOD block_ring(const mglu_cuda_projection &p, char *barriers, char *rings)
        : p(p), full((uint64_t *)barriers + warp_index() * p.ring_depth),
          places(rings + warp_index() * p.ring_depth * p.block_bytes), place(0), parity(0), strip(blockIdx.x),
          block(warp_index()), token(0)
    {
        if (lane_index() == 0) {
            for (uint32_t i = 0; i < p.ring_depth; i++)
                init_barrier(full + i);
            publish_barriers();
            for (uint32_t i = 0; i < p.ring_depth; i++)
                copy_next(i);
        }
        __syncwarp();
    }

    /* Each strip is read once for each token. */
    MGLU_METHOD void copy_next(uint32_t to)
    {
        const uint32_t blocks = mglu_tile_blocks(p.columns);

        if (strip >= mglu_tile_strips(p.rows) || block >= blocks)
            return;
        arrive_expecting(full + to, p.block_bytes);
        copy_to_shared(places + to * p.block_bytes,
                       (const void *)(p.weights + ((uint64_t)strip * blocks + block) * p.block_bytes), p.block_bytes,
                       full + to);
        block += warp_count();
        if (block < blocks)
            return;
        block = warp_index();
        if (++token < p.batch)
            return;
        token = 0;
        strip += gridDim.x;
    }

    /* The next block of the warp, once it is there. */
    MGLU_METHOD const char *wait() const
    {
        while (!has_ended(full + place, parity))
            ;
        return places + place * p.block_bytes;
    }

    /* The block has been read by the lane, and may be overwritten when all lanes say so. */
    MGLU_METHOD void release()
    {
        __syncwarp();
        if (lane_index() == 0)
            copy_next(place);
        if (++place < p.ring_depth)
            return;
        place = 0;
        parity ^= 1;
    }
};

template <mglu_dtype DTYPE, mglu_cuda_x X, mglu_cuda_form FORM> struct ring_strips : simt_strip<DTYPE, X, FORM> {
    typedef simt_strip<DTYPE, X, FORM> base;
    typedef typename base::lane_x lane_x;
    using base::p;
    using base::sums;
    /* mglu_cuda_ring_most_warps(), for the launch bounds. */
    static constexpr int MAX_WARPS = FORM >= MGLU_CUDA_MASKS_8 ? 8 : 16;

    MGLU_METHOD void add_blocks(block_ring &ring, int64_t token, float *stages)
    {
        const uint32_t blocks = mglu_tile_blocks(p.columns), plane_bytes = mglu_tile_plane_bytes(DTYPE);
        const mask_planes<base::MASKS> planes(p, token, base::MATRICES * plane_bytes);
        token_stage<lane_x> stage(row_of_token(p, token, lane_x::X_BYTES), stages);

        stage.fetch();
        for (uint32_t block = warp_index(); block < blocks; block += warp_count()) {
            const char *at = ring.wait();
            lane_weights<DTYPE> weights[base::MATRICES];
            uint32_t words[mask_planes<base::MASKS>::SLOTS];
            lane_x x;

            MGLU_UNROLL
            for (uint32_t i = 0; i < base::MATRICES; i++)
                weights[i].load(at + i * plane_bytes, lane_index());
            planes.load(at, words);
            ring.release();
            stage.exchange(x);
            stage.fetch();
            MGLU_UNROLL
            for (int i = 0; i < base::MATRICES; i++)
                base::add_matrix(weights[i], x, words, i);
        }
    }

    MGLU_METHOD void add_strip(block_ring &ring, uint32_t strip, int64_t token)
    {
        float *parts = shared_floats(), *stages = parts + warp_count() * base::SUMS * MGLU_TILE_ROWS;

        MGLU_UNROLL
        for (int i = 0; i < base::SUMS; i++)
            sums[i][0] = sums[i][1] = 0;
        add_blocks(ring, token, stages);
        base::leave_part(parts);
        finisher<base::KIND, base::SUMS, 1>{p, parts, strip, token}.finish();
    }

    /* Weights are copied before the launch ahead has ended: none writes them. */
    MGLU_METHOD void run()
    {
        char *rings = (char *)shared_floats() + mglu_cuda_ring_offset(base::SUMS, warp_count());
        const uint32_t barriers = warp_count() * MGLU_CUDA_RING_MOST_DEPTH * (uint32_t)sizeof(uint64_t);
        block_ring ring(p, rings - barriers, rings);

        let_next_launch_begin();
        wait_for_previous_launch();
        for (uint32_t strip = blockIdx.x; strip < mglu_tile_strips(p.rows); strip += gridDim.x)
            for (int64_t token = 0; token < p.batch; token++)
                add_strip(ring, strip, token);
    }
};

#define MGLU_RING_KERNEL(symbol, dtype, x, form)                                                                       \
    MGLU_KERNEL void __launch_bounds__(ring_strips<dtype, x, form>::MAX_WARPS * 32, 1)                                 \
        symbol(MGLU_PARAMETER mglu_cuda_projection p)                                                                  \
    {                                                                                                                  \
        ring_strips<dtype, x, form>{{p, {}}}.run();                                                                    \
    }

#define MGLU_RING_KERNELS(name, dtype, x)                                                                              \
    MGLU_RING_KERNEL(name##_glu, dtype, x, MGLU_CUDA_GLU)                                                              \
    MGLU_RING_KERNEL(name##_m1, dtype, x, MGLU_CUDA_MASKS_1)                                                           \
    MGLU_RING_KERNEL(name##_m2, dtype, x, MGLU_CUDA_MASKS_2)                                                           \
    MGLU_RING_KERNEL(name##_m4, dtype, x, MGLU_CUDA_MASKS_4)                                                           \
    MGLU_RING_KERNEL(name##_m8, dtype, x, MGLU_CUDA_MASKS_8)                                                           \
    MGLU_RING_KERNEL(name##_m16, dtype, x, MGLU_CUDA_MASKS_16)

#endif
