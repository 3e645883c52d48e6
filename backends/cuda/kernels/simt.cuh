/* SPDX-License-Identifier: MIT */
#ifndef MGLU_CUDA_SIMT_CUH
#define MGLU_CUDA_SIMT_CUH

/*
 * One token at a time with f32 multiply-adds. The blocks of a strip are distributed round-robin over the warps of a
 * thread block; lane 4 g + t sums rows g and g + 8 over its columns. A mask bit selects whether a product is added to
 * the gate.
 */

#include "backends/cuda/kernels/finish.cuh"
#include "backends/cuda/kernels/resident.cuh"
#include "backends/cuda/kernels/strip.cuh"
#include "backends/cuda/kernels/weights.cuh"

/* Multiplies weights with x in f32. */
template <mglu_dtype DTYPE, mglu_cuda_x X> struct products {
    typedef lane_floats<X, DTYPE> lane_x;
    typedef float factor;

    MGLU_METHOD static factor of(const lane_weights<DTYPE> &weights, int element)
    {
        return weights.at(element);
    }
    MGLU_METHOD static float add(factor weight, const lane_x &x, int column, float sum)
    {
        return fmaf(weight, x.at(column), sum);
    }
};

#if MGLU_HAS_MIXED_FMA
/* Multiplies weights with x in their own 16-bit dtype. */
template <mglu_dtype DTYPE> struct half_products {
    typedef lane_halves lane_x;
    typedef uint16_t factor;

    MGLU_METHOD static factor of(const lane_weights<DTYPE> &weights, int element)
    {
        return (uint16_t)weights.bits(element);
    }
    MGLU_METHOD static float add(factor weight, const lane_x &x, int column, float sum)
    {
        return DTYPE == MGLU_DTYPE_F16 ? fma_f16(weight, x.at(column), sum) : fma_bf16(weight, x.at(column), sum);
    }
};

template <> struct products<MGLU_DTYPE_F16, MGLU_CUDA_X_SAME> : half_products<MGLU_DTYPE_F16> {
};
template <> struct products<MGLU_DTYPE_BF16, MGLU_CUDA_X_SAME> : half_products<MGLU_DTYPE_BF16> {
};
#endif

/*
 * The offsets in a block of the masks of a token's terms: all in order, or those that routing selected. A kernel for
 * more masks than there are terms repeats the last one; finish() ignores the result.
 */
template <int MASKS> struct mask_planes {
    static constexpr int SLOTS = MASKS > 0 ? MASKS : 1;
    uint32_t offsets[SLOTS];

    MGLU_METHOD mask_planes(const mglu_cuda_projection &p, int64_t token, uint32_t first_plane)
    {
        const int32_t *ids = p.mask_ids ? global<const int32_t>(p.mask_ids) + token * p.terms : nullptr;
        MGLU_UNROLL
        for (int i = 0; i < MASKS; i++) {
            int32_t term = i < p.terms ? i : p.terms - 1;
            offsets[i] = first_plane + (uint32_t)(ids ? ids[term] : term) * MGLU_TILE_MASK_BYTES;
        }
    }

    /* The lane's words of a block. */
    template <class BLOCK> MGLU_METHOD void load(BLOCK block, uint32_t (&words)[SLOTS]) const
    {
        MGLU_UNROLL
        for (int i = 0; i < MASKS; i++)
            words[i] = load_word(block + offsets[i], lane_index());
    }
};

template <mglu_dtype DTYPE, mglu_cuda_x X, mglu_cuda_form FORM> struct simt_strip {
    typedef products<DTYPE, X> product;
    typedef typename product::lane_x lane_x;
    static constexpr int MASKS = form_traits<FORM>::MASKS, MATRICES = form_traits<FORM>::MATRICES;
    static constexpr int SUMS = form_traits<FORM>::SUMS;
    static constexpr sum_kind KIND = FORM == MGLU_CUDA_SUM ? SUMS_ROW : FORM == MGLU_CUDA_GLU ? SUMS_GLU : SUMS_GATES;

    const mglu_cuda_projection &p;
    float sums[SUMS][2]; /* of rows g and g + 8 */

    /*
     * Eight weights at a time, first the low then the high halves of eight pairs: their bits of a mask word are one
     * byte, which is converted to eight predicates at low cost. So the inner loop is the one over masks, and the
     * weights stay in registers.
     */
    MGLU_METHOD void add_eight(const lane_weights<DTYPE> &weights, const lane_x &x, const uint32_t *words, int matrix,
                               int first_pair, int half)
    {
        typename product::factor factors[8];
        MGLU_UNROLL
        for (int j = 0; j < 8; j++) {
            factors[j] = product::of(weights, 2 * (first_pair + j) + half);
            sums[matrix][j % 2] = product::add(factors[j], x, column_of(first_pair + j, half), sums[matrix][j % 2]);
        }
        MGLU_UNROLL
        for (int i = 0; i < MASKS; i++) {
            MGLU_UNROLL
            for (int j = 0; j < 8; j++) {
                float &gate = sums[1 + i][j % 2];
                if (words[i] >> mglu_tile_mask_bit((uint32_t)(2 * (first_pair + j) + half)) & 1)
                    gate = product::add(factors[j], x, column_of(first_pair + j, half), gate);
            }
        }
    }

    /* Which of the lane's columns an element of a pair belongs to. */
    MGLU_METHOD static int column_of(int pair, int half)
    {
        return pair / 4 * 4 + pair / 2 % 2 * 2 + half;
    }

    MGLU_METHOD void add_matrix(const lane_weights<DTYPE> &weights, const lane_x &x, const uint32_t *words, int matrix)
    {
        MGLU_UNROLL
        for (int first_pair = 0; first_pair < 16; first_pair += 8) {
            add_eight(weights, x, words, matrix, first_pair, 0);
            add_eight(weights, x, words, matrix, first_pair, 1);
        }
    }

    MGLU_METHOD void add_blocks(uint32_t strip, int64_t token)
    {
        const uint32_t blocks = mglu_tile_blocks(p.columns), plane_bytes = mglu_tile_plane_bytes(DTYPE);
        const mask_planes<MASKS> planes(p, token, MATRICES * plane_bytes);
        token_stage<lane_x> stage(row_of_token(p, token, lane_x::X_BYTES),
                                  shared_floats() + warp_count() * SUMS * MGLU_TILE_ROWS);
        uint64_t at = strip_address(p, strip) + (uint64_t)warp_index() * p.block_bytes;

        for (uint32_t block = warp_index(); block < blocks; block += warp_count()) {
            lane_weights<DTYPE> weights[MATRICES];
            uint32_t words[mask_planes<MASKS>::SLOTS];
            lane_x x;

            MGLU_UNROLL
            for (int i = 0; i < MATRICES; i++)
                weights[i].load(at + i * plane_bytes, lane_index());
            planes.load(at, words);
            stage.load_next(x);
            at += (uint64_t)warp_count() * p.block_bytes;
            MGLU_UNROLL
            for (int i = 0; i < MATRICES; i++)
                add_matrix(weights[i], x, words, i);
        }
    }

    /* Adds the sums of the four lanes of a row and stores the result for finish(). */
    MGLU_METHOD void leave_part(float *shared)
    {
        float *part = shared + warp_index() * SUMS * MGLU_TILE_ROWS;
        MGLU_UNROLL
        for (int i = 0; i < SUMS; i++) {
            MGLU_UNROLL
            for (int half = 0; half < 2; half++) {
                float sum = sums[i][half];
                sum += __shfl_xor_sync(0xffffffffu, sum, 1);
                sum += __shfl_xor_sync(0xffffffffu, sum, 2);
                if (lane_index() % 4 == 0)
                    part[i * MGLU_TILE_ROWS + half * 8 + lane_index() / 4] = sum;
            }
        }
    }

    MGLU_METHOD void run()
    {
        const int64_t token = blockIdx.x;

        begin(p);
        for (uint32_t strip = blockIdx.y; strip < mglu_tile_strips(p.rows); strip += gridDim.y) {
            MGLU_UNROLL
            for (int i = 0; i < SUMS; i++)
                sums[i][0] = sums[i][1] = 0;
            add_blocks(strip, token);
            leave_part(shared_floats());
            finisher<KIND, SUMS, 1>{p, shared_floats(), strip, token}.finish();
        }
    }
};

#define MGLU_SIMT_KERNEL(symbol, dtype, x, form)                                                                       \
    MGLU_KERNEL void __maxnreg__(simt_registers(dtype, x, form)) symbol(MGLU_PARAMETER mglu_cuda_projection p)         \
    {                                                                                                                  \
        simt_strip<dtype, x, form>{p, {}}.run();                                                                       \
    }

/* The masked kernels and the plain one for a dtype of weights and a kind of x. */
#define MGLU_SIMT_KERNELS(name, dtype, x)                                                                              \
    MGLU_SIMT_KERNEL(name##_glu, dtype, x, MGLU_CUDA_GLU)                                                              \
    MGLU_SIMT_KERNEL(name##_m1, dtype, x, MGLU_CUDA_MASKS_1)                                                           \
    MGLU_SIMT_KERNEL(name##_m2, dtype, x, MGLU_CUDA_MASKS_2)                                                           \
    MGLU_SIMT_KERNEL(name##_m4, dtype, x, MGLU_CUDA_MASKS_4)                                                           \
    MGLU_SIMT_KERNEL(name##_m8, dtype, x, MGLU_CUDA_MASKS_8)                                                           \
    MGLU_SIMT_KERNEL(name##_m16, dtype, x, MGLU_CUDA_MASKS_16)

#endif
