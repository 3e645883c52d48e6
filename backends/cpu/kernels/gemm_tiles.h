/* SPDX-License-Identifier: MIT */
#ifndef MGLU_CPU_GEMM_TILES_H
#define MGLU_CPU_GEMM_TILES_H

#include "amx.h"
#include "gemm_pack.h"

/* What the kernels of GEMM by tiles have in common: a block of 32 rows, and its sums over panels of 256 columns. */

enum {
    ROW_TILES = 2,
    ROWS = ROW_TILES * TILE_SIDE,
    PANEL_GROUPS = 8,
    TILE_SUMS = TILE_SIDE * TILE_SIDE,
};

/* The groups of the rows that are multiplied at a time. */
struct part {
    int64_t first_group;
    int32_t groups;
    int is_last;
};

MGLU_INLINE struct part part_from(int64_t first_group, int64_t groups, int32_t most)
{
    const int is_last = groups - first_group <= most;

    return (struct part){first_group, is_last ? (int32_t)(groups - first_group) : most, is_last};
}

/*
 * Tiles of weights, `row` bytes from row to row: those of the second 16 rows are `second` bytes behind the first, the
 * next group's `group`.
 */
struct weight_tiles {
    const char *first;
    int64_t row, second, group;
};

/* Rows of bf16 as they are stored. */
MGLU_INLINE struct weight_tiles tiles_in_place(const struct mglu_cpu_matrix *matrix, int64_t row, int64_t group)
{
    const int64_t stride = (int64_t)matrix->stride_bytes;

    return (struct weight_tiles){matrix->rows + row * stride + group * TILE_ROW_BYTES, stride, TILE_SIDE * stride,
                                 TILE_ROW_BYTES};
}

/* Rows in a panel, whose tiles are [group][row tile][part]. */
MGLU_INLINE struct weight_tiles tiles_of_panel(const char *tiles, int parts)
{
    return (struct weight_tiles){tiles, TILE_ROW_BYTES, parts * TILE_BYTES, ROW_TILES * parts * TILE_BYTES};
}

/* The rows beyond a job's last repeat it. */
MGLU_INLINE int64_t row_of(const struct mglu_cpu_gemm *job, int32_t r)
{
    return job->first_row + (r < job->rows ? r : job->rows - 1);
}

#endif
