/* SPDX-License-Identifier: MIT */
#ifndef MGLU_CUDA_TOKENS_CUH
#define MGLU_CUDA_TOKENS_CUH

/* A lane's part of a token: the 16 columns of x that match its weights of a block. 0 beyond the last column. */

#include "backends/cuda/kernels/elements.cuh"
#include "backends/cuda/kernels/params.h"

enum { LANE_COLUMNS = 16 };

struct token_row {
    uint64_t address;
    uint32_t columns;
    bool is_f16; /* when x is f16 or bf16 */
};

MGLU_DEVICE token_row row_of_token(const mglu_cuda_projection &p, int64_t token, uint32_t element_bytes)
{
    return {p.x + (uint64_t)(token * p.x_stride) * element_bytes, p.columns, p.x_dtype == MGLU_DTYPE_F16};
}

MGLU_DEVICE uint16_t half_at(const token_row &row, uint32_t column)
{
    return column < row.columns ? global<const uint16_t>(row.address)[column] : 0;
}

/* The number of blocks of the row that can be read with vector loads. */
MGLU_DEVICE uint32_t vector_blocks(const token_row &row)
{
    return row.address % 16 == 0 ? row.columns / MGLU_TILE_COLUMNS : 0;
}

/* As bits of f16 or bf16, two per word. */
struct lane_halves {
    typedef uint16_t element;
    uint32_t pairs[LANE_COLUMNS / 2];

    static constexpr uint32_t X_BYTES = 2;

    MGLU_METHOD static element fetch(uint64_t address, bool)
    {
        return *global<const uint16_t>(address);
    }

    MGLU_METHOD uint16_t at(int column) const
    {
        return half_of(pairs[column / 2], column % 2);
    }

    MGLU_METHOD void take(const uint4 *from)
    {
        const uint4 low = from[0], high = from[1];
        MGLU_UNROLL
        for (int i = 0; i < LANE_COLUMNS / 2; i++)
            pairs[i] = word_of(i < 4 ? low : high, i % 4);
    }

    /* Loads column by column, or with vector loads where vector_blocks() allows it. */
    MGLU_METHOD void load(const token_row &row, uint32_t first)
    {
        MGLU_UNROLL
        for (uint32_t i = 0; i < LANE_COLUMNS / 2; i++)
            pairs[i] = half_at(row, first + 2 * i) | (uint32_t)half_at(row, first + 2 * i + 1) << 16;
    }

    MGLU_METHOD void load_vectors(const token_row &row, uint32_t first)
    {
        take(global<const uint4>(row.address + (uint64_t)first * sizeof(element)));
    }
};

/* As f32. */
template <mglu_cuda_x X, mglu_dtype WEIGHTS> struct lane_floats {
    typedef float element;
    float values[LANE_COLUMNS];

    static constexpr uint32_t X_BYTES = X == MGLU_CUDA_X_F32 ? 4 : 2;

    MGLU_METHOD static element fetch(uint64_t address, bool is_f16)
    {
        if constexpr (X == MGLU_CUDA_X_F32)
            return *global<const float>(address);
        else if constexpr (X == MGLU_CUDA_X_HALF)
            return half_to_f32(*global<const uint16_t>(address), is_f16);
        else
            return half_to_f32(*global<const uint16_t>(address), WEIGHTS == MGLU_DTYPE_F16);
    }

    MGLU_METHOD float at(int column) const
    {
        return values[column];
    }

    MGLU_METHOD void take(const uint4 *from)
    {
        MGLU_UNROLL
        for (int i = 0; i < LANE_COLUMNS / 4; i++) {
            const uint4 four = from[i];
            MGLU_UNROLL
            for (int j = 0; j < 4; j++)
                values[4 * i + j] = __uint_as_float(word_of(four, j));
        }
    }
};

/*
 * Distributes the columns of one token to the lanes of a warp through shared memory, for each block of the warp: each
 * lane reads two, with any alignment. Double-buffered, so that a block needs only one barrier.
 */
template <class LANE_X> struct token_stage {
    typedef typename LANE_X::element element;
    element *buffer; /* the warp's own */
    uint64_t address;
    uint32_t column, columns;
    bool is_f16, second;
    element fetched[2];

    MGLU_METHOD token_stage(const token_row &row, float *shared)
        : columns(row.columns), is_f16(row.is_f16), second(false)
    {
        const uint32_t warp = threadIdx.x / 32, lane = threadIdx.x % 32;

        buffer = (element *)(shared + warp * MGLU_CUDA_STAGE_FLOATS);
        column = warp * MGLU_TILE_COLUMNS + 2 * lane;
        address = row.address + column * LANE_X::X_BYTES;
    }

    /* Reads the lane's two columns of the next block. */
    MGLU_METHOD void fetch()
    {
        fetched[0] = column < columns ? LANE_X::fetch(address, is_f16) : 0;
        fetched[1] = column + 1 < columns ? LANE_X::fetch(address + LANE_X::X_BYTES, is_f16) : 0;
    }

    /* Brings what all lanes have fetched to those that want it. */
    MGLU_METHOD void exchange(LANE_X &x)
    {
        const uint32_t lane = threadIdx.x % 32, step = blockDim.x / 32 * MGLU_TILE_COLUMNS;
        element *to = buffer + (second ? MGLU_TILE_COLUMNS : 0);

        to[2 * lane] = fetched[0];
        to[2 * lane + 1] = fetched[1];
        __syncwarp();
        x.take((const uint4 *)(to + lane % 4 * LANE_COLUMNS));
        column += step;
        address += step * LANE_X::X_BYTES;
        second = !second;
    }

    /* fetch() and exchange(), written out: of the two calls ptxas makes kernels with more registers, some that spill.
     */
    MGLU_METHOD void load_next(LANE_X &x)
    {
        const uint32_t lane = threadIdx.x % 32, step = blockDim.x / 32 * MGLU_TILE_COLUMNS;
        element *to = buffer + (second ? MGLU_TILE_COLUMNS : 0);

        to[2 * lane] = column < columns ? LANE_X::fetch(address, is_f16) : 0;
        to[2 * lane + 1] = column + 1 < columns ? LANE_X::fetch(address + LANE_X::X_BYTES, is_f16) : 0;
        __syncwarp();
        x.take((const uint4 *)(to + lane % 4 * LANE_COLUMNS));
        column += step;
        address += step * LANE_X::X_BYTES;
        second = !second;
    }
};

#endif
