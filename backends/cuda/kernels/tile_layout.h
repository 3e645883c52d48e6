/* SPDX-License-Identifier: MIT */
#ifndef MGLU_CUDA_TILE_LAYOUT_H
#define MGLU_CUDA_TILE_LAYOUT_H

/*
 * The layout of a matrix in device memory: the one definition for the host, which writes it, and for the kernels.
 *
 * A matrix is divided into blocks of 16 rows x 64 columns. The blocks of the same 16 rows, a strip, are stored in
 * column order, and strips in row order. Rows are padded to whole strips and columns to whole blocks, with zeros.
 *
 *   block      [weight plane] 1 or 2 (plain: gate, then value) | [mask plane] n_masks
 *   weights    chunks of 16 bytes, [chunk][lane 0..31], then (quantised) [2 groups][8][2] f16 scales
 *   mask plane [lane 0..31] one 32-bit word
 *
 * A warp reads a block with whole 512-byte loads. Lane 4 g + t holds rows g and g + 8 and the 16 columns from 16 t on:
 * 32 weights, the operands of four mma.m16n8k16 steps when the columns of x are permuted in the same way. They are
 * stored as 16 pairs; pair 4 c + i has columns 16 t + 4 c + 2 (i / 2) + {0, 1} and row g + 8 (i % 2), which is register
 * i of step c. Element 2 j + b of the lane is element b of pair j. In a mask word pair j has bit 15 - j for b = 0 and
 * bit 31 - j for b = 1, so that one shift moves both to the sign bits of two halves.
 */

#include <mglu/types.h>

#if defined(__CUDACC__)
#define MGLU_TILE_FN __host__ __device__ static inline
#else
#define MGLU_TILE_FN static inline
#endif

enum {
    MGLU_TILE_ROWS = 16,
    MGLU_TILE_COLUMNS = 64,
    MGLU_TILE_LANES = 32,
    MGLU_TILE_LANE_WEIGHTS = 32,
    MGLU_TILE_CHUNK_BYTES = 16,
    MGLU_TILE_MASK_BYTES = MGLU_TILE_LANES * 4,
    MGLU_TILE_GROUP_COLUMNS = 32, /* that share a scale */
    MGLU_TILE_SCALE_BYTES = MGLU_TILE_ROWS * (MGLU_TILE_COLUMNS / MGLU_TILE_GROUP_COLUMNS) * 2
};

/* The place of an element of a block: its lane, and its index within that lane. */
struct mglu_tile_place {
    uint32_t lane, element;
};

/* 0 for a dtype that has no layout here: it must not be taken for one of the same kind. */
MGLU_TILE_FN uint32_t mglu_tile_weight_bits(mglu_dtype dtype)
{
    return dtype == MGLU_DTYPE_F32                               ? 32
           : dtype == MGLU_DTYPE_F16 || dtype == MGLU_DTYPE_BF16 ? 16
           : dtype == MGLU_DTYPE_Q8_0                            ? 8
           : dtype == MGLU_DTYPE_Q4_0                            ? 4
                                                                 : 0;
}

MGLU_TILE_FN int mglu_tile_has_scales(mglu_dtype dtype)
{
    return dtype == MGLU_DTYPE_Q8_0 || dtype == MGLU_DTYPE_Q4_0;
}

/* Bytes of the weights of one plane of a block, without and with its scales. */
MGLU_TILE_FN uint32_t mglu_tile_weights_bytes(mglu_dtype dtype)
{
    return MGLU_TILE_ROWS * MGLU_TILE_COLUMNS / 8 * mglu_tile_weight_bits(dtype);
}

MGLU_TILE_FN uint32_t mglu_tile_plane_bytes(mglu_dtype dtype)
{
    return mglu_tile_weights_bytes(dtype) + (mglu_tile_has_scales(dtype) ? (uint32_t)MGLU_TILE_SCALE_BYTES : 0);
}

/* Size of a block in bytes, a multiple of 64. `planes` is 1, or 2 for the two matrices of a plain layer. */
MGLU_TILE_FN uint32_t mglu_tile_block_bytes(mglu_dtype dtype, uint32_t planes, uint32_t n_masks)
{
    return planes * mglu_tile_plane_bytes(dtype) + n_masks * MGLU_TILE_MASK_BYTES;
}

MGLU_TILE_FN uint32_t mglu_tile_strips(int64_t rows)
{
    return (uint32_t)((rows + MGLU_TILE_ROWS - 1) / MGLU_TILE_ROWS);
}

/* Blocks in a strip. */
MGLU_TILE_FN uint32_t mglu_tile_blocks(int64_t columns)
{
    return (uint32_t)((columns + MGLU_TILE_COLUMNS - 1) / MGLU_TILE_COLUMNS);
}

/* Bytes of a whole matrix with its masks. */
MGLU_TILE_FN uint64_t mglu_tile_matrix_bytes(mglu_dtype dtype, uint32_t planes, uint32_t n_masks, int64_t rows,
                                             int64_t columns)
{
    return (uint64_t)mglu_tile_strips(rows) * mglu_tile_blocks(columns) * mglu_tile_block_bytes(dtype, planes, n_masks);
}

MGLU_TILE_FN struct mglu_tile_place mglu_tile_place_of(uint32_t row, uint32_t column)
{
    struct mglu_tile_place place;
    uint32_t in_lane = column % 16;

    place.lane = row % 8 * 4 + column / 16;
    place.element = in_lane / 4 * 8 + in_lane / 2 % 2 * 4 + row / 8 * 2 + in_lane % 2;
    return place;
}

/* Offset in bits of an element within its plane; the bits of a byte count from the least significant. */
MGLU_TILE_FN uint32_t mglu_tile_weight_bit_offset(mglu_dtype dtype, struct mglu_tile_place place)
{
    uint32_t bits = mglu_tile_weight_bits(dtype), per_chunk = MGLU_TILE_CHUNK_BYTES * 8 / bits;
    uint32_t chunk = place.element / per_chunk * MGLU_TILE_LANES + place.lane;

    return chunk * (MGLU_TILE_CHUNK_BYTES * 8) + place.element % per_chunk * bits;
}

/* The bit of an element in its lane's mask words. */
MGLU_TILE_FN uint32_t mglu_tile_mask_bit(uint32_t element)
{
    return (element % 2 ? 31u : 15u) - element / 2;
}

/* Offset in bytes, from the end of the plane's weights, of the f16 scale of a row and group of columns of a block. */
MGLU_TILE_FN uint32_t mglu_tile_scale_offset(uint32_t row, uint32_t group)
{
    return ((group * 8 + row % 8) * 2 + row / 8) * 2;
}

#endif
