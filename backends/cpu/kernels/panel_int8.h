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
 * What a file defines before it includes this: PANEL_ROWS, the rows of the block; QUAD_BYTES, of a quad of all rows;
 * and
 *
 *   vec load_quads(group, first, dtype)     VEC_LANES quads of a row: those of a group from quad `first` on
 *   store_quad(panel, quad, row, v, dtype)  a quad of VEC_LANES rows from row `row` on
 *   vec scale_factor(dtype)                 by which the scales of the weights are multiplied, a power of two
 *   select_quads(from, row, words, to, dtype)   the quads of a group for VEC_LANES rows, selected by their mask words
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

/* Groups from those of a panel to the ones that are needed next: the next panel, or the first of the next block. */
MGLU_INLINE int64_t groups_ahead(const struct mglu_cpu_gemm_int8 *job, int64_t first_group)
{
    const int64_t groups = job->matrix->groups;

    return first_group + PANEL_GROUPS < groups ? PANEL_GROUPS : PANEL_ROWS * groups - first_group;
}

/* VEC_LANES rows of a panel, from row `first` of the block on. */
MGLU_INLINE void fill_rows(const struct mglu_cpu_gemm_int8 *job, int32_t first, int64_t first_group, int32_t groups,
                           mglu_dtype dtype, char *panel)
{
    const size_t distance = (size_t)groups_ahead(job, first_group) * group_bytes(dtype);
    const char *rows[VEC_LANES];

    for (int i = 0; i < VEC_LANES; i++)
        rows[i] = row_from(job->matrix, row_of(job, first + i), first_group, dtype).weights;
    for (int32_t quad = 0; quad < groups * GROUP_QUADS; quad += VEC_LANES) {
        const size_t group = (size_t)quad / GROUP_QUADS * group_bytes(dtype);
        vec of_rows[VEC_LANES];
        MGLU_UNROLL
        for (int i = 0; i < VEC_LANES; i++) {
            of_rows[i] = load_quads(rows[i] + group, quad % GROUP_QUADS, dtype);
            __builtin_prefetch((const void *)((uintptr_t)rows[i] + group + distance), 0, 2);
        }
        vec_transpose(of_rows);
        MGLU_UNROLL
        for (int i = 0; i < VEC_LANES; i++)
            store_quad(panel, quad + i, first, of_rows[i], dtype);
    }
}

MGLU_INLINE void fill_scales(const struct mglu_cpu_gemm_int8 *job, int64_t first_group, int32_t groups,
                             mglu_dtype dtype, struct row_scales *scales)
{
    static const float start = -MGLU_CPU_INT8_START;
    uint16_t halves[PANEL_GROUPS][PANEL_ROWS];

    for (int32_t r = 0; r < PANEL_ROWS; r++) {
        const uint16_t *of_row = row_from(job->matrix, row_of(job, r), first_group, dtype).scales;
        for (int32_t group = 0; group < groups; group++)
            halves[group][r] = of_row[group];
    }
    for (int32_t group = 0; group < groups; group++)
        for (int32_t r = 0; r < PANEL_ROWS; r += VEC_LANES) {
            const vec scale = vec_mul(vec_load_f16(halves[group] + r), scale_factor(dtype));
            vec_store_f32(scales[group].scale + r, scale);
            vec_store_f32(scales[group].start + r, vec_mul(scale, vec_broadcast(&start)));
        }
}

/* The mask words of all masks that are needed next. Prefetching beyond the end of a matrix is harmless. */
MGLU_INLINE void prefetch_masks(const struct mglu_cpu_gemm_int8 *job, int64_t first_group)
{
    const size_t row_bytes = (size_t)(PANEL_GROUPS * mask_pitch(job->matrix)) * sizeof(uint32_t);
    const int64_t next = first_group + groups_ahead(job, first_group);

    for (int32_t r = 0; r < PANEL_ROWS; r++) {
        const uintptr_t words = (uintptr_t)mask_words(job->matrix, row_of(job, r), next);
        for (size_t line = 0; line < row_bytes; line += 64)
            __builtin_prefetch((const void *)(words + line), 0, 2);
    }
}

/* The panel of one mask. */
MGLU_INLINE void select_panel(const struct mglu_cpu_gemm_int8 *job, int32_t mask, int64_t first_group, int32_t groups,
                              mglu_dtype dtype, const char *panel, char *selected)
{
    const int64_t pitch = mask_pitch(job->matrix);
    uint32_t words[PANEL_GROUPS][PANEL_ROWS];

    for (int32_t r = 0; r < PANEL_ROWS; r++) {
        const uint32_t *of_row = mask_words(job->matrix, row_of(job, r), first_group) + mask;
        for (int32_t group = 0; group < groups; group++)
            words[group][r] = of_row[group * pitch];
    }
    for (int32_t group = 0; group < groups; group++)
        for (int32_t first = 0; first < PANEL_ROWS; first += VEC_LANES)
            select_quads(panel + group * GROUP_BYTES, first, words[group] + first, selected + group * GROUP_BYTES,
                         dtype);
}

#endif
