/* SPDX-License-Identifier: MIT */
#ifndef MGLU_CUDA_TOKENS_CUH
#define MGLU_CUDA_TOKENS_CUH

/* What a lane needs of a token: the 16 columns of x that its weights of a block belong to. 0 beyond the last column. */

#include "backends/cuda/kernels/elements.cuh"
#include "backends/cuda/kernels/tile_layout.h"

enum { LANE_COLUMNS = 16 };

struct token_row {
    uint64_t address;
    uint32_t columns;
    int32_t dtype;
};

/* Whether columns first..first + 15 lie inside the row and can be read as whole vectors. */
MGLU_DEVICE bool can_load_vectors(const token_row &row, uint32_t first)
{
    return row.address % 16 == 0 && first + LANE_COLUMNS <= row.columns;
}

/* As bits of f16 or bf16, two to a word. */
struct lane_halves {
    uint32_t pairs[LANE_COLUMNS / 2];

    MGLU_METHOD void load(const token_row &row, uint32_t first)
    {
        if (can_load_vectors(row, first)) {
            const uint4 *from = global<const uint4>(row.address + (uint64_t)first * 2);
            for (int i = 0; i < 2; i++) {
                uint4 v = from[i];
                for (int j = 0; j < 4; j++)
                    pairs[4 * i + j] = word_of(v, j);
            }
            return;
        }
        const uint16_t *from = global<const uint16_t>(row.address);
        for (uint32_t i = 0; i < LANE_COLUMNS / 2; i++) {
            uint32_t low = first + 2 * i < row.columns ? from[first + 2 * i] : 0;
            uint32_t high = first + 2 * i + 1 < row.columns ? from[first + 2 * i + 1] : 0;
            pairs[i] = low | high << 16;
        }
    }

    MGLU_METHOD void clear()
    {
        for (int i = 0; i < LANE_COLUMNS / 2; i++)
            pairs[i] = 0;
    }

    MGLU_METHOD uint16_t at(int column) const
    {
        return half_of(pairs[column / 2], column % 2);
    }
};

/* As f32, from any dtype. */
struct lane_floats {
    float values[LANE_COLUMNS];

    MGLU_METHOD void load(const token_row &row, uint32_t first)
    {
        if (row.dtype == MGLU_DTYPE_F32)
            load_f32(row, first);
        else
            load_halves(row, first);
    }

    MGLU_METHOD void load_f32(const token_row &row, uint32_t first)
    {
        if (can_load_vectors(row, first)) {
            const uint4 *vectors = global<const uint4>(row.address + (uint64_t)first * 4);
            for (int i = 0; i < LANE_COLUMNS / 4; i++) {
                uint4 v = vectors[i];
                for (int j = 0; j < 4; j++)
                    values[4 * i + j] = __uint_as_float(word_of(v, j));
            }
            return;
        }
        const float *from = global<const float>(row.address);
        for (uint32_t i = 0; i < LANE_COLUMNS; i++)
            values[i] = first + i < row.columns ? from[first + i] : 0;
    }

    MGLU_METHOD void load_halves(const token_row &row, uint32_t first)
    {
        lane_halves halves;

        halves.load(row, first);
        for (int i = 0; i < LANE_COLUMNS; i++)
            values[i] = row.dtype == MGLU_DTYPE_F16 ? f16_to_f32(halves.at(i)) : bf16_to_f32(halves.at(i));
    }

    MGLU_METHOD float at(int column) const
    {
        return values[column];
    }
};

#endif
