/* SPDX-License-Identifier: MIT */
#ifndef MGLU_CPU_GEMM_INT8_H
#define MGLU_CPU_GEMM_INT8_H

/*
 * GEMM of integers: the sums of a block of rows for many tokens, of quantised weights and x quantised to 8 bits.
 *
 * A tile holds the sums of some rows for some tokens in registers. Within a group of 32 columns, products and their
 * sums are exact. The sum of a group is multiplied by the scale of its weights, then by that of its x and added to the
 * groups of the panel before it, fused. The panels are added one after the other. So a product is rounded at most
 * PANEL_GROUPS + panels + 1 times, no more often than the c of docs/semantics.md allows in rows of up to
 * MGLU_CPU_GEMM_COLUMNS. A sum depends on its row, its mask and its x alone.
 *
 * What a file defines before it includes this: what panel_int8.h needs; ROW_VECS and MOST_TOKENS, the vectors of rows
 * and the tokens of a tile; LEAST_TOKENS_Q8_0,
 * LEAST_TOKENS_Q4_0, LEAST_AFTER_PAIRS and LEAST_PLAIN_Q4_0, see kernels.h; and
 *
 *   add_group(quads, words, scales, row, x, at, n, dtype, sums)
 *       adds the products of a group to the sums of a tile: of all weights, or of those that `words` select, which are
 *       NULL unless MOST_SELECTED is above 0
 */

#include "panel_int8.h"

#include <string.h>

enum { TILE_ROWS = ROW_VECS * VEC_LANES, SMALL_TILE = MOST_TOKENS / 3, MIDDLE_TILE = MOST_TOKENS - SMALL_TILE };

/* A panel's groups of weights, and the tokens that they are multiplied with. */
struct product {
    const struct mglu_cpu_gemm_int8 *job;
    const char *panel;
    const struct row_scales *scales;
    int64_t first_group;
    int32_t groups;
    int32_t end;            /* of the positions of the list */
    int64_t words_of_group; /* of the words that order_words() makes */
    struct ahead *ahead;
};

/*
 * Some rows with n tokens from `position` on; those beyond the last repeat it and are discarded. Of the weights all are
 * multiplied, or those that `words` select.
 */
MGLU_INLINE void sum_tile(const struct product *p, const struct row_words *words, int32_t row, int32_t position, int n,
                          mglu_dtype dtype)
{
    const char *x[MOST_TOKENS];
    vec sums[MOST_TOKENS][ROW_VECS];

    MGLU_UNROLL
    for (int t = 0; t < n; t++) {
        const int32_t token = p->job->tokens[position + t < p->end ? position + t : p->end - 1];
        x[t] = p->job->x + (size_t)token * p->job->x_stride;
        MGLU_UNROLL
        for (int v = 0; v < ROW_VECS; v++)
            sums[t][v] = vec_zero();
    }
    for (int32_t group = 0; group < p->groups;) {
        const int32_t end = p->groups - group < AHEAD_GROUPS ? p->groups : group + AHEAD_GROUPS;
        prefetch_ahead(p->ahead);
        for (; group < end; group++)
            add_group(p->panel + group * GROUP_BYTES, words ? &words[group * p->words_of_group] : NULL,
                      &p->scales[group], row, x,
                      mglu_cpu_quantised_group(p->job->matrix->groups, p->first_group + group), n, dtype, sums);
    }
    for (int t = 0; t < n && position + t < p->end; t++) {
        float *to = p->job->sums + (size_t)(position + t) * PANEL_ROWS + row;
        MGLU_UNROLL
        for (int v = 0; v < ROW_VECS; v++, to += VEC_LANES)
            vec_store_f32(to, p->first_group ? vec_add(vec_load_f32(to), sums[t][v]) : sums[t][v]);
    }
}

/* Some rows with all tokens of a list from `position` on: as few tiles as possible, none needlessly small. */
MGLU_INLINE void sum_list(const struct product *p, int32_t row, int32_t position, mglu_dtype dtype)
{
    for (int32_t left = p->end - position; left > 0; left = p->end - position) {
        const int two_of_the_middle = left > MOST_TOKENS && left <= MOST_TOKENS + SMALL_TILE;
        if (left > MIDDLE_TILE && !two_of_the_middle) {
            sum_tile(p, NULL, row, position, MOST_TOKENS, dtype);
            position += MOST_TOKENS;
        } else if (left > SMALL_TILE) {
            sum_tile(p, NULL, row, position, MIDDLE_TILE, dtype);
            position += MIDDLE_TILE;
        } else {
            sum_tile(p, NULL, row, position, SMALL_TILE, dtype);
            position += SMALL_TILE;
        }
    }
}

/* Some rows with a list of up to MOST_SELECTED tokens: weights are selected between their loads and their products. */
MGLU_INLINE void sum_few(const struct product *p, const struct row_words *words, int32_t row, int32_t position,
                         mglu_dtype dtype)
{
    if (MOST_SELECTED == 0)
        return;
    if (p->end - position > SMALL_TILE)
        sum_tile(p, words, row, position, MIDDLE_TILE, dtype);
    else
        sum_tile(p, words, row, position, SMALL_TILE, dtype);
}

/* How many tiles are multiplied with a panel. */
MGLU_INLINE int32_t count_products(const struct mglu_cpu_gemm_int8 *job)
{
    int32_t products = 0;

    for (int32_t list = 0; list < job->lists; list++)
        products += (job->first[list + 1] - job->first[list] + MOST_TOKENS - 1) / MOST_TOKENS;
    return products * (PANEL_ROWS / TILE_ROWS);
}

/* What a kernel is specialised on, a dtype: functions of their own, since gcc 12 spills sums where all is in one. */
struct steps {
    mglu_dtype dtype;
    void (*fill)(const struct mglu_cpu_gemm_int8 *job, int64_t first_group, int32_t groups, char *panel,
                 struct row_scales *scales);
    void (*select)(const struct mglu_cpu_gemm_int8 *job, int32_t mask, const struct row_words *words, int32_t groups,
                   const char *panel, char *selected);
    void (*sum)(const struct product *p, int32_t position);
    void (*sum_few)(const struct product *p, const struct row_words *words, int32_t position);
};

/* All lists with one panel: the first with all of its weights, each other one with those that its mask selects. */
static void multiply_panel(const struct mglu_cpu_gemm_int8 *job, const struct steps *steps, int64_t first_group,
                           int32_t groups)
{
    _Alignas(64) char panel[PANEL_GROUPS * GROUP_BYTES], selected[PANEL_GROUPS * GROUP_BYTES];
    struct row_words words[PANEL_GROUPS * WORD_MASKS];
    struct row_scales scales[PANEL_GROUPS];
    struct ahead ahead = look_ahead(job, first_group, count_products(job), steps->dtype);
    struct product p = {job, panel, scales, first_group, groups, job->first[1], words_of_group(job), &ahead};
    int32_t ordered = -1;

    steps->fill(job, first_group, groups, panel, scales);
    steps->sum(&p, job->first[0]);
    for (int32_t list = 1; list < job->lists; list++) {
        p.end = job->first[list + 1];
        if (p.end == job->first[list])
            continue;
        if ((list - 1) / WORD_MASKS != ordered) {
            ordered = (list - 1) / WORD_MASKS;
            order_words(job, ordered * WORD_MASKS, first_group, groups, words);
        }
        if (p.end - job->first[list] <= MOST_SELECTED) {
            p.panel = panel;
            steps->sum_few(&p, words + (list - 1) % WORD_MASKS, job->first[list]);
            continue;
        }
        p.panel = selected;
        steps->select(job, list - 1, words, groups, panel, selected);
        steps->sum(&p, job->first[list]);
    }
}

static void multiply_matrix(const struct mglu_cpu_gemm_int8 *job, const struct steps *steps)
{
    const int64_t groups = job->matrix->groups;

    if (groups == 0)
        memset(job->sums, 0, (size_t)job->first[job->lists] * PANEL_ROWS * sizeof *job->sums);
    for (int64_t group = 0; group < groups; group += PANEL_GROUPS)
        multiply_panel(job, steps, group, groups - group < PANEL_GROUPS ? (int32_t)(groups - group) : PANEL_GROUPS);
}

#define GEMM_INT8_KERNEL(type, TYPE)                                                                                   \
    static void fill_##type(const struct mglu_cpu_gemm_int8 *job, int64_t first_group, int32_t groups, char *panel,    \
                            struct row_scales *scales)                                                                 \
    {                                                                                                                  \
        for (int32_t first = 0; first < PANEL_ROWS; first += VEC_LANES)                                                \
            fill_rows(job, first, first_group, groups, MGLU_DTYPE_##TYPE, panel);                                      \
        fill_scales(job, first_group, groups, MGLU_DTYPE_##TYPE, scales);                                              \
    }                                                                                                                  \
    static void select_##type(const struct mglu_cpu_gemm_int8 *job, int32_t mask, const struct row_words *words,       \
                              int32_t groups, const char *panel, char *selected)                                       \
    {                                                                                                                  \
        select_panel(job, mask, words, groups, MGLU_DTYPE_##TYPE, panel, selected);                                    \
    }                                                                                                                  \
    static void sum_##type(const struct product *p, int32_t position)                                                  \
    {                                                                                                                  \
        for (int32_t row = 0; row < PANEL_ROWS; row += TILE_ROWS)                                                      \
            sum_list(p, row, position, MGLU_DTYPE_##TYPE);                                                             \
    }                                                                                                                  \
    static void sum_few_##type(const struct product *p, const struct row_words *words, int32_t position)               \
    {                                                                                                                  \
        for (int32_t row = 0; row < PANEL_ROWS; row += TILE_ROWS)                                                      \
            sum_few(p, words, row, position, MGLU_DTYPE_##TYPE);                                                       \
    }                                                                                                                  \
    static void gemm_##type(const struct mglu_cpu_gemm_int8 *job)                                                      \
    {                                                                                                                  \
        static const struct steps steps = {MGLU_DTYPE_##TYPE, fill_##type, select_##type, sum_##type, sum_few_##type}; \
        multiply_matrix(job, &steps);                                                                                  \
    }

GEMM_INT8_KERNEL(q8_0, Q8_0)
GEMM_INT8_KERNEL(q4_0, Q4_0)

const struct mglu_cpu_gemm_int8_kernels KERNEL(gemm_int8) = {
    .tile_rows = PANEL_ROWS,
    .gemm = {[MGLU_DTYPE_Q8_0] = gemm_q8_0, [MGLU_DTYPE_Q4_0] = gemm_q4_0},
    .least_tokens = {[MGLU_DTYPE_Q8_0] = LEAST_TOKENS_Q8_0, [MGLU_DTYPE_Q4_0] = LEAST_TOKENS_Q4_0},
    .least_after_pairs = LEAST_AFTER_PAIRS,
    .least_plain_q4_0 = LEAST_PLAIN_Q4_0,
};

#endif
