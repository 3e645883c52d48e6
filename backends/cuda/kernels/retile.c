/* SPDX-License-Identifier: MIT */
#include "backends/cuda/kernels/retile.h"
#include "common/core/mask_format.h"

#include <string.h>

/* Converts the packed format (common/core/mask_format.h) to the blocks of tile_layout.h. */

static uint32_t planes_of(const struct mglu_cuda_matrix *matrix)
{
    return matrix->plane[1].data ? 2 : 1;
}

static uint32_t block_bytes(const struct mglu_cuda_matrix *matrix)
{
    return mglu_tile_block_bytes(matrix->dtype, planes_of(matrix), matrix->n_masks);
}

static int64_t groups_of(const struct mglu_cuda_matrix *matrix)
{
    return (int64_t)mglu_format_groups((mglu_index)matrix->columns);
}

uint64_t mglu_cuda_matrix_bytes(const struct mglu_cuda_matrix *matrix)
{
    return mglu_tile_matrix_bytes(matrix->dtype, planes_of(matrix), matrix->n_masks, matrix->rows, matrix->columns);
}

/* Two adjacent columns of a q4_0 row: in a group, column j shares a byte with column j + 16. */
static uint8_t nibble_pair(const unsigned char *row, int64_t column)
{
    const unsigned char *bytes = row + column / MGLU_GROUP_COLUMNS * (MGLU_GROUP_COLUMNS / 2) + column % 16;
    int shift = column % MGLU_GROUP_COLUMNS < 16 ? 0 : 4;

    return (uint8_t)((bytes[0] >> shift & 15) | (bytes[1] >> shift & 15) << 4);
}

/* 32 columns of a row, copied in pairs, since pairs of columns stay adjacent. `column` counts within the block. */
static void place_weights(const struct mglu_cuda_matrix *matrix, const unsigned char *row, int64_t group,
                          uint32_t row_in_block, uint32_t column, unsigned char *plane)
{
    const size_t pair_bytes = mglu_tile_weight_bits(matrix->dtype) * 2 / 8;

    for (uint32_t c = 0; c < MGLU_GROUP_COLUMNS; c += 2) {
        struct mglu_tile_place place = mglu_tile_place_of(row_in_block, column + c);
        unsigned char *to = plane + mglu_tile_weight_bit_offset(matrix->dtype, place) / 8;
        int64_t from = group * MGLU_GROUP_COLUMNS + c;

        if (matrix->dtype == MGLU_DTYPE_Q4_0)
            *to = nibble_pair(row, from);
        else
            memcpy(to, row + (size_t)from * pair_bytes / 2, pair_bytes);
    }
}

/* A group of columns of a row of one plane, with its scale. */
static void place_group(const struct mglu_cuda_matrix *matrix, uint32_t index, int64_t row, int64_t group,
                        unsigned char *plane)
{
    const unsigned char *scales = matrix->scales[index];
    const uint32_t row_in_block = (uint32_t)(row % MGLU_TILE_ROWS), half = (uint32_t)(group % 2);

    place_weights(matrix,
                  (const unsigned char *)matrix->plane[index].data + (size_t)row * matrix->plane[index].stride_bytes,
                  group, row_in_block, half * MGLU_GROUP_COLUMNS, plane);
    if (scales)
        memcpy(plane + mglu_tile_weights_bytes(matrix->dtype) + mglu_tile_scale_offset(row_in_block, half),
               scales + (size_t)(row * groups_of(matrix) + group) * 2, 2);
}

/* The bits of 16 columns, from column order to that of a lane's mask word for its row g. Row g + 8 is one bit lower. */
static uint32_t to_lane_order(uint32_t bits)
{
    uint32_t word = 0;

    for (uint32_t step = 0; step < 4; step++) {
        uint32_t four = bits >> (4 * step);
        word |=
            ((four & 1) << 15 | (four >> 1 & 1) << 31 | (four >> 2 & 1) << 13 | (four >> 3 & 1) << 29) >> (4 * step);
    }
    return word;
}

/* The masks of one row and one group of 32 columns, stored in the words of two lanes. */
static void place_masks(const struct mglu_cuda_matrix *matrix, int64_t row, int64_t group, unsigned char *planes)
{
    const uint32_t *words = matrix->masks + mglu_format_mask_word((mglu_index)row, (mglu_index)group, 0,
                                                                  (mglu_index)groups_of(matrix), matrix->n_masks);
    const uint32_t row_in_block = (uint32_t)(row % MGLU_TILE_ROWS), below = row_in_block / 8;
    const uint32_t lane = row_in_block % 8 * 4 + (uint32_t)(group % 2) * 2;

    for (uint32_t i = 0; i < matrix->n_masks; i++) {
        uint32_t pair[2];
        unsigned char *at = planes + i * MGLU_TILE_MASK_BYTES + lane * sizeof pair[0];

        memcpy(pair, at, sizeof pair);
        pair[0] |= to_lane_order(words[i] & 0xffff) >> below;
        pair[1] |= to_lane_order(words[i] >> 16) >> below;
        memcpy(at, pair, sizeof pair);
    }
}

/* One row of all blocks of a strip. */
static void place_row(const struct mglu_cuda_matrix *matrix, int64_t row, unsigned char *strip)
{
    const uint32_t planes = planes_of(matrix), plane_bytes = mglu_tile_plane_bytes(matrix->dtype);

    for (int64_t group = 0; group < groups_of(matrix); group++) {
        unsigned char *block = strip + (size_t)(group / 2) * block_bytes(matrix);
        for (uint32_t i = 0; i < planes; i++)
            place_group(matrix, i, row, group, block + i * plane_bytes);
        if (matrix->n_masks)
            place_masks(matrix, row, group, block + planes * plane_bytes);
    }
}

void mglu_cuda_retile(const struct mglu_cuda_matrix *matrix, uint32_t first_strip, uint32_t strips, void *tiles)
{
    const size_t strip_bytes = (size_t)mglu_tile_blocks(matrix->columns) * block_bytes(matrix);
    const int64_t first = (int64_t)first_strip * MGLU_TILE_ROWS;
    int64_t end = first + (int64_t)strips * MGLU_TILE_ROWS;

    memset(tiles, 0, strips * strip_bytes);
    if (end > matrix->rows)
        end = matrix->rows;
    for (int64_t row = first; row < end; row++)
        place_row(matrix, row, (unsigned char *)tiles + (size_t)((row - first) / MGLU_TILE_ROWS) * strip_bytes);
}
