/* SPDX-License-Identifier: MIT */
#ifndef MGLU_CPU_GEMM_PACK_H
#define MGLU_CPU_GEMM_PACK_H

#include "kernels.h"
#include "vec.h"

/*
 * The tokens of GEMM are in blocks of as many as a vector has lanes. Their x is packed, [word][token], a word being one
 * column in f32 or two in bf16; their sums are [row][token] until the last product, then [token][row].
 */

enum { BLOCK_SUMS = VEC_LANES * GEMM_ROWS };

MGLU_INLINE int32_t count_blocks(int32_t tokens)
{
    return (tokens + VEC_LANES - 1) / VEC_LANES;
}

/* One block of sums, from [row][token] to [token][row]. */
MGLU_INLINE void transpose_block(const float *from, int32_t tokens, float *to)
{
    for (int first = 0; first < GEMM_ROWS; first += VEC_LANES) {
        vec rows[VEC_LANES];
        MGLU_UNROLL
        for (int r = 0; r < VEC_LANES; r++)
            rows[r] = vec_load_f32(from + (first + r) * VEC_LANES);
        vec_transpose(rows);
        MGLU_UNROLL
        for (int token = 0; token < VEC_LANES; token++)
            if (token < tokens)
                vec_store_f32(to + token * GEMM_ROWS + first, rows[token]);
    }
}

#endif
