/* SPDX-License-Identifier: MIT */
#ifndef MGLU_CPU_PANEL_INT8_H
#define MGLU_CPU_PANEL_INT8_H

/*
 * Panels of quantised weights for GEMM of integers (gemm_int8.h).
 *
 * A panel holds the quants of all rows of a block for some groups, transposed: a quad is four columns of each row. It
 * is filled once; for each mask a second one is made of it, in which the quants that are not selected are those of a
 * weight of zero.
 *
 * What a file defines before it includes this: PANEL_ROWS, the rows of the block, and QUAD_BYTES, of a quad of all
 * rows.
 */

#include "weights.h"

enum {
    GROUP_QUADS = MGLU_GROUP_COLUMNS / 4,
    PANEL_GROUPS = 16, /* even: vectors of 16 lanes hold the quads of two groups */
    GROUP_BYTES = GROUP_QUADS * QUAD_BYTES
};

/* Of a group, for each row: its scale, and -MGLU_CPU_INT8_START times that. */
struct row_scales {
    _Alignas(64) float scale[PANEL_ROWS], start[PANEL_ROWS];
};

/* Of a group, for each row: the word of a mask. */
struct row_words {
    _Alignas(64) uint32_t word[PANEL_ROWS];
};

/*
 * Adds the sums of a group for one token and a vector of rows. They are integers over the bits of MGLU_CPU_INT8_START,
 * so as floats they are that number plus the integer, exactly: one instruction converts and scales them.
 */
MGLU_INLINE vec add_scaled(vec sums, vec integers, const struct row_scales *scales, int32_t row, vec x_scale)
{
    const vec scaled = vec_fma(integers, vec_load_f32(scales->scale + row), vec_load_f32(scales->start + row));

    return vec_fma(scaled, x_scale, sums);
}

/* Row `r` of the block. Rows beyond its last repeat that one. */
MGLU_INLINE int64_t row_of(const struct mglu_cpu_gemm_int8 *job, int32_t r)
{
    return job->first_row + (r < job->rows ? r : job->rows - 1);
}

/* What is read after a panel: `lines` cache lines of each of its rows, `stride` apart. */
struct lines {
    uintptr_t from;
    size_t stride, lines;
};

/*
 * The panel after this one, or the first of the next block of rows. Its rows are prefetched one after the other while
 * this one is multiplied, as a prefetch occupies a buffer of the first-level cache until its line has arrived: `step`
 * rows for AHEAD_GROUPS groups, `due` rows so far, both times 2^16.
 */
struct ahead {
    struct lines weights, scales, words;
    uint32_t step, due;
    int32_t row;
};

MGLU_INLINE struct ahead look_ahead(const struct mglu_cpu_gemm_int8 *job, int64_t first_group, int32_t products,
                                    mglu_dtype dtype)
{
    const struct mglu_cpu_matrix *matrix = job->matrix;
    const int follows = first_group + PANEL_GROUPS < matrix->groups;
    const int64_t row = job->first_row + (follows ? 0 : PANEL_ROWS), group = follows ? first_group + PANEL_GROUPS : 0;
    const struct weight_row from = row_from(matrix, row, group, dtype);
    const size_t words = job->lists > 1 ? (size_t)mask_pitch(matrix) * sizeof(uint32_t) : 0;

    return (struct ahead){
        .weights = {(uintptr_t)from.weights, matrix->stride_bytes, PANEL_GROUPS * group_bytes(dtype) / 64},
        .scales = {(uintptr_t)from.scales, matrix->scale_stride, 1},
        .words = {(uintptr_t)mask_words(matrix, row, group), (size_t)matrix->groups * words, PANEL_GROUPS * words / 64},
        .step = PANEL_ROWS * 65536 / ((uint32_t)products * (PANEL_GROUPS / AHEAD_GROUPS)) + 1,
    };
}

/* Prefetching beyond the end of a matrix is harmless. */
MGLU_INLINE void prefetch_lines(const struct lines *lines, int32_t row)
{
    const uintptr_t from = lines->from + (size_t)row * lines->stride;

    for (size_t line = 0; line < lines->lines; line++)
        __builtin_prefetch((const void *)(from + line * 64), 0, 2);
}

/* The rows that are due after AHEAD_GROUPS more groups. */
static __attribute__((noinline)) void prefetch_ahead(struct ahead *ahead)
{
    ahead->due += ahead->step;
    for (; (uint32_t)ahead->row < ahead->due >> 16; ahead->row++) {
        prefetch_lines(&ahead->weights, ahead->row);
        prefetch_lines(&ahead->scales, ahead->row);
        prefetch_lines(&ahead->words, ahead->row);
    }
}

#endif
