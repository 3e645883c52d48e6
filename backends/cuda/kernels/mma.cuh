/* SPDX-License-Identifier: MIT */
#ifndef MGLU_CUDA_MMA_CUH
#define MGLU_CUDA_MMA_CUH

/*
 * Eight or sixteen tokens at a time on tensor cores. A lane's weights in memory are the A fragments of four steps, its
 * columns of x the B fragments. For each mask the products are summed once more with the signs of the gate's weights
 * flipped: this gives value - gate, from which both follow. The sums of a token do not depend on other tokens.
 */

#include "backends/cuda/kernels/finish.cuh"
#include "backends/cuda/kernels/resident.cuh"
#include "backends/cuda/kernels/strip.cuh"

template <mglu_dtype DTYPE> MGLU_DEVICE void multiply(float (&sums)[4], uint4 a, uint2 b)
{
    if constexpr (DTYPE == MGLU_DTYPE_F16)
        mma_f16(sums, a, b);
    else
        mma_bf16(sums, a, b);
}

/* The pair with the signs flipped of those weights whose bits are set. `pair` counts within the lane. */
MGLU_DEVICE uint32_t turn_signs(uint32_t weights, uint32_t word, int pair)
{
    return weights ^ (word << pair & 0x80008000u);
}

MGLU_DEVICE uint4 turn_signs(uint4 weights, uint32_t word, int step)
{
    return {turn_signs(weights.x, word, 4 * step), turn_signs(weights.y, word, 4 * step + 1),
            turn_signs(weights.z, word, 4 * step + 2), turn_signs(weights.w, word, 4 * step + 3)};
}

/* TILES times 8 tokens. */
template <mglu_dtype DTYPE, int TILES, mglu_cuda_form FORM> struct mma_strip {
    static constexpr int MASKS = form_traits<FORM>::MASKS, MATRICES = form_traits<FORM>::MATRICES;
    static constexpr int SUMS = form_traits<FORM>::SUMS;
    static constexpr int TILE_TOKENS = 8, STEPS = 4;
    static constexpr sum_kind KIND = FORM == MGLU_CUDA_GLU ? SUMS_GLU : SUMS_SIGNED;
    static constexpr int WORDS = MASKS > 0 ? MASKS : 1, MASK_GROUP = 4;

    const mglu_cuda_projection &p;
    float sums[TILES][SUMS][4];

    /* A lane loads the columns of the tile's token lane / 4; beyond the last token, those of the last. */
    MGLU_METHOD token_row lane_row(int64_t first_token, int tile)
    {
        int64_t token = first_token + tile * TILE_TOKENS + lane_index() / 4;

        return row_of_token(p, token < p.batch ? token : p.batch - 1, lane_halves::X_BYTES);
    }

    /* The lane's words of each mask; 0 where there are fewer terms than the kernel has masks. */
    MGLU_METHOD void load_words(uint64_t planes, uint32_t (&words)[WORDS])
    {
        const uint32_t *own = (const uint32_t *)planes + lane_index();
        MGLU_UNROLL
        for (int i = 0; i < MASKS; i++)
            words[i] = load_stream4_if(i < p.terms, own + i * MGLU_TILE_LANES);
    }

    /*
     * Adds a block's products of one matrix, with the signs flipped where `word` has a 1. Tensor cores truncate sums
     * towards zero: over a long row of one sign the error would exceed that of class B. So the block is summed from
     * zero, and its sum is added in f32, which rounds to nearest.
     */
    MGLU_METHOD void add_products(const uint4 (&weights)[STEPS], uint32_t word, const lane_halves (&x)[TILES], int sum)
    {
        float block[TILES][4] = {};

        MGLU_UNROLL
        for (int step = 0; step < STEPS; step++) {
            const uint4 signed_weights = turn_signs(weights[step], word, step);
            MGLU_UNROLL
            for (int tile = 0; tile < TILES; tile++)
                multiply<DTYPE>(block[tile], signed_weights, {x[tile].pairs[2 * step], x[tile].pairs[2 * step + 1]});
        }
        MGLU_UNROLL
        for (int i = 0; i < TILES * 4; i++)
            sums[i / 4][sum][i % 4] += block[i / 4][i % 4];
    }

    /*
     * Up to MASK_GROUP masks. Each group has a branch of its own, which skips groups without a term and prevents the
     * compiler from interleaving so many masks that registers spill.
     */
    MGLU_METHOD void add_masks(const uint4 (&weights)[STEPS], const uint32_t (&words)[WORDS],
                               const lane_halves (&x)[TILES], int first)
    {
        MGLU_UNROLL
        for (int i = first; i < MASKS && i < first + MASK_GROUP; i++)
            add_products(weights, words[i], x, 1 + i);
    }

    template <bool VECTORS> MGLU_METHOD void add_block(const token_row (&rows)[TILES], uint32_t strip, uint32_t block)
    {
        const uint64_t at = strip_address(p, strip) + (uint64_t)block * p.block_bytes;
        const uint32_t first_column = block * MGLU_TILE_COLUMNS + lane_index() % 4 * LANE_COLUMNS;
        lane_halves x[TILES];
        uint4 weights[MATRICES][STEPS];
        uint32_t words[WORDS];

        MGLU_UNROLL
        for (int i = 0; i < MATRICES * STEPS; i++)
            weights[i / STEPS][i % STEPS] = load_stream16((const uint4 *)at + i * MGLU_TILE_LANES + lane_index());
        load_words(at + MATRICES * mglu_tile_plane_bytes(DTYPE), words);
        MGLU_UNROLL
        for (int tile = 0; tile < TILES; tile++) {
            if (VECTORS)
                x[tile].load_vectors(rows[tile], first_column);
            else
                x[tile].load(rows[tile], first_column);
        }
        __syncwarp(); /* loads are not moved across it: all of a block's are in flight before one is used */
        MGLU_UNROLL
        for (int i = 0; i < MATRICES; i++)
            add_products(weights[i], 0, x, i);
        MGLU_UNROLL
        for (int first = 0; first < MASKS; first += MASK_GROUP)
            if (first == 0 || first < p.terms)
                add_masks(weights[0], words, x, first);
    }

    /* First the blocks that all lanes can read as vectors, then the others. */
    MGLU_METHOD void add_blocks(uint32_t strip, int64_t first_token)
    {
        const uint32_t blocks = mglu_tile_blocks(p.columns);
        token_row rows[TILES];
        uint32_t whole = blocks, block = warp_index();

        MGLU_UNROLL
        for (int tile = 0; tile < TILES; tile++) {
            rows[tile] = lane_row(first_token, tile);
            if (vector_blocks(rows[tile]) < whole)
                whole = vector_blocks(rows[tile]);
        }
        whole = __reduce_min_sync(0xffffffffu, whole);
        for (; block < whole; block += warp_count())
            add_block<true>(rows, strip, block);
        for (; block < blocks; block += warp_count())
            add_block<false>(rows, strip, block);
    }

    /* C fragments: registers 0 and 1 are row lane / 4 and two tokens, 2 and 3 the row eight below. */
    MGLU_METHOD void leave_part(float *shared, int tile)
    {
        const uint32_t row = lane_index() / 4, token = lane_index() % 4 * 2;
        MGLU_UNROLL
        for (int i = 0; i < SUMS; i++) {
            float *part = shared + ((warp_index() * SUMS + i) * TILE_TOKENS + token) * MGLU_TILE_ROWS + row;
            part[0] = sums[tile][i][0];
            part[MGLU_TILE_ROWS] = sums[tile][i][1];
            part[8] = sums[tile][i][2];
            part[MGLU_TILE_ROWS + 8] = sums[tile][i][3];
        }
    }

    MGLU_METHOD void clear()
    {
        MGLU_UNROLL
        for (int i = 0; i < TILES * SUMS * 4; i++)
            sums[i / 4 / SUMS][i / 4 % SUMS][i % 4] = 0;
    }

    MGLU_METHOD void run()
    {
        const int64_t first = (int64_t)blockIdx.x * TILES * TILE_TOKENS;

        begin(p);
        for (uint32_t strip = blockIdx.y; strip < mglu_tile_strips(p.rows); strip += gridDim.y) {
            clear();
            add_blocks(strip, first);
            MGLU_UNROLL
            for (int tile = 0; tile < TILES; tile++) {
                if (first + tile * TILE_TOKENS >= p.batch)
                    break;
                leave_part(shared_floats(), tile);
                finisher<KIND, SUMS, TILE_TOKENS>{p, shared_floats(), strip, first + tile * TILE_TOKENS}.finish();
            }
        }
    }
};

/* Four warps share a strip. */
#define MGLU_MMA_KERNEL(symbol, dtype, tiles, form)                                                                    \
    MGLU_KERNEL void __launch_bounds__(128, (tiles) == 1 ? RESIDENT.mma8[form] : RESIDENT.mma16[form])                 \
        symbol(MGLU_PARAMETER mglu_cuda_projection p)                                                                  \
    {                                                                                                                  \
        mma_strip<dtype, tiles, form>{p, {}}.run();                                                                    \
    }

/* For up to 8 masks. */
#define MGLU_MMA_KERNELS(name, dtype, tiles)                                                                           \
    MGLU_MMA_KERNEL(name##_glu, dtype, tiles, MGLU_CUDA_GLU)                                                           \
    MGLU_MMA_KERNEL(name##_m1, dtype, tiles, MGLU_CUDA_MASKS_1)                                                        \
    MGLU_MMA_KERNEL(name##_m2, dtype, tiles, MGLU_CUDA_MASKS_2)                                                        \
    MGLU_MMA_KERNEL(name##_m4, dtype, tiles, MGLU_CUDA_MASKS_4)                                                        \
    MGLU_MMA_KERNEL(name##_m8, dtype, tiles, MGLU_CUDA_MASKS_8)

#endif
