/* SPDX-License-Identifier: MIT */
#ifndef MGLU_CPU_FILL_INT8_H
#define MGLU_CPU_FILL_INT8_H

/*
 * Filling the panels of GEMM of integers, on all instruction sets but AVX-512 VNNI, which has fill_vnni.h.
 *
 * What a file defines before it includes this: PANEL_ROWS and QUAD_BYTES, see panel_int8.h, and
 *
 *   vec load_quads(group, first, dtype)     VEC_LANES quads of a row: those of a group from quad `first` on
 *   store_quad(panel, quad, row, v, dtype)  a quad of VEC_LANES rows from row `row` on
 *   vec scale_factor(dtype)                 by which the scales of the weights are multiplied, a power of two
 *   select_quads(from, row, words, to, dtype)   the quads of a group for VEC_LANES rows, selected by their mask words
 */

/* Masks whose words are ordered at once; tokens for which tiles select weights; groups between steps of prefetching. */
enum { WORD_MASKS = 1, MOST_SELECTED = 0, AHEAD_GROUPS = 16 };

#include "panel_int8.h"

/* VEC_LANES rows of a panel, from row `first` of the block on. */
MGLU_INLINE void fill_rows(const struct mglu_cpu_gemm_int8 *job, int32_t first, int64_t first_group, int32_t groups,
                           mglu_dtype dtype, char *panel)
{
    const char *rows[VEC_LANES];

    for (int i = 0; i < VEC_LANES; i++)
        rows[i] = row_from(job->matrix, row_of(job, first + i), first_group, dtype).weights;
    for (int32_t quad = 0; quad < groups * GROUP_QUADS; quad += VEC_LANES) {
        const size_t group = (size_t)quad / GROUP_QUADS * group_bytes(dtype);
        vec of_rows[VEC_LANES];
        MGLU_UNROLL
        for (int i = 0; i < VEC_LANES; i++)
            of_rows[i] = load_quads(rows[i] + group, quad % GROUP_QUADS, dtype);
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

/* Words of a group in what order_words() makes. */
MGLU_INLINE int64_t words_of_group(const struct mglu_cpu_gemm_int8 *job)
{
    return 1;
}

/* Orders the mask words of the groups of a panel by rows. */
MGLU_INLINE void order_words(const struct mglu_cpu_gemm_int8 *job, int32_t mask, int64_t first_group, int32_t groups,
                             struct row_words *words)
{
    const int64_t pitch = mask_pitch(job->matrix);

    for (int32_t r = 0; r < PANEL_ROWS; r++) {
        const uint32_t *of_row = mask_words(job->matrix, row_of(job, r), first_group) + mask;
        for (int32_t group = 0; group < groups; group++)
            words[group].word[r] = of_row[group * pitch];
    }
}

/* The panel of one mask, with the words that were ordered for it. */
MGLU_INLINE void select_panel(const struct mglu_cpu_gemm_int8 *job, int32_t mask, const struct row_words *words,
                              int32_t groups, mglu_dtype dtype, const char *panel, char *selected)
{
    for (int32_t group = 0; group < groups; group++)
        for (int32_t first = 0; first < PANEL_ROWS; first += VEC_LANES)
            select_quads(panel + group * GROUP_BYTES, first, words[group].word + first, selected + group * GROUP_BYTES,
                         dtype);
}

#endif
