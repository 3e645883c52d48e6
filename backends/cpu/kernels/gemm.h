/* SPDX-License-Identifier: MIT */
#ifndef MGLU_CPU_GEMM_H
#define MGLU_CPU_GEMM_H

/*
 * GEMM: the sums of a block of rows for many tokens. gemm.c includes this for weights converted to f32, gemm_bf16dot.c
 * for pairs of bf16; both first define COLUMNS_PER_WORD; load_words(), the masked words of one vector of a group; and
 * add_products(), sums + words * x.
 *
 * A panel holds the masked words of all rows of the block, transposed, so that a vector has one word of each row. A
 * tile holds the sums of all rows for some tokens in registers: each word of x is read once for all rows. Weights are
 * converted, masked and transposed once for all tokens.
 */

#include "gemm_order.h"
#include "weights.h"

#include <string.h>

enum {
    TILE_ROWS = TILE_VECS * VEC_LANES,
    GROUP_WORDS = MGLU_GROUP_COLUMNS / COLUMNS_PER_WORD,
    GROUP_PARTS = GROUP_WORDS / VEC_LANES,
    PANEL_GROUPS = PANEL_WORDS / GROUP_WORDS,
    UNROLLED_WORDS = 4, /* a divisor of every chain */
    MOST_LEVELS = 5     /* of the pairwise summation: a panel has at most 32 chains */
};

/* The sums of all rows for `n` tokens. */
typedef struct tile {
    vec sum[TILE_TOKENS][TILE_VECS];
} tile;

/* VEC_LANES rows of one group, from row `first` of the block on. Rows beyond the block's last repeat it. */
MGLU_INLINE void fill_group(const struct mglu_cpu_gemm *job, int32_t first, int64_t group, int masked, mglu_dtype dtype,
                            float *words)
{
    const struct mglu_cpu_matrix *matrix = job->matrix;

    struct weight_group rows[VEC_LANES];
    uint32_t masks[VEC_LANES];

    MGLU_UNROLL
    for (int i = 0; i < VEC_LANES; i++) {
        const int64_t row = job->first_row + (first + i < job->rows ? first + i : job->rows - 1);
        rows[i] = group_of(row_from(matrix, row, 0, dtype), group, dtype);
        masks[i] = masked ? mask_words(matrix, row, group)[job->mask] : ~0u;
    }
    MGLU_UNROLL
    for (int part = 0; part < GROUP_PARTS; part++) {
        vec of_rows[VEC_LANES];
        MGLU_UNROLL
        for (int i = 0; i < VEC_LANES; i++)
            of_rows[i] = load_words(&rows[i], part, masks[i], dtype);
        vec_transpose(of_rows);
        MGLU_UNROLL
        for (int i = 0; i < VEC_LANES; i++)
            vec_store_f32(words + (part * VEC_LANES + i) * TILE_ROWS, of_rows[i]);
    }
}

/* The groups of a panel for VEC_LANES rows: all groups before the next rows, so that rows are located once. */
MGLU_INLINE void fill_rows(const struct mglu_cpu_gemm *job, int32_t first, int64_t first_group, int32_t groups,
                           int masked, mglu_dtype dtype, float *panel)
{
    for (int32_t group = 0; group < groups; group++)
        fill_group(job, first, first_group + group, masked, dtype, panel + group * GROUP_WORDS * TILE_ROWS + first);
}

MGLU_INLINE void tile_add(tile *to, const tile *other, int n)
{
    MGLU_UNROLL
    for (int t = 0; t < n; t++) {
        MGLU_UNROLL
        for (int v = 0; v < TILE_VECS; v++)
            to->sum[t][v] = vec_add(to->sum[t][v], other->sum[t][v]);
    }
}

MGLU_INLINE void tile_copy(tile *to, const tile *from, int n)
{
    MGLU_UNROLL
    for (int t = 0; t < n; t++) {
        MGLU_UNROLL
        for (int v = 0; v < TILE_VECS; v++)
            to->sum[t][v] = from->sum[t][v];
    }
}

/* Adds the products of one word of all rows. */
MGLU_INLINE void add_word(const float *words, const char *const *x, int64_t word, int n, vec sums[][TILE_VECS])
{
    vec weights[TILE_VECS];

    MGLU_UNROLL
    for (int v = 0; v < TILE_VECS; v++)
        weights[v] = vec_load_f32(words + v * VEC_LANES);
    MGLU_UNROLL
    for (int t = 0; t < n; t++) {
        vec value = vec_broadcast(x[t] + word * (int64_t)sizeof(float));
        MGLU_UNROLL
        for (int v = 0; v < TILE_VECS; v++)
            sums[t][v] = add_products(sums[t][v], weights[v], value);
    }
}

/* One chain of `words` words from word `first` of the panel on. */
MGLU_INLINE void sum_chain(const float *panel, const char *const *x, int32_t first, int32_t words, int n, tile *sums)
{
    MGLU_UNROLL
    for (int t = 0; t < n; t++) {
        MGLU_UNROLL
        for (int v = 0; v < TILE_VECS; v++)
            sums->sum[t][v] = vec_zero();
    }
    for (int64_t word = first; word < first + words; word += UNROLLED_WORDS) {
        MGLU_UNROLL
        for (int i = 0; i < UNROLLED_WORDS; i++)
            add_word(panel + (word + i) * TILE_ROWS, x, word + i, n, sums->sum);
    }
}

/* The sums of one panel: partial[k] is the sum of 2^k chains if bit k of the number of chains is set. */
MGLU_INLINE void sum_panel(const float *panel, const char *const *x, int32_t words, int32_t chain, int n, tile *sums)
{
    tile partial[MOST_LEVELS];
    uint32_t chains = 0;

    for (int32_t first = 0;; first += chain) {
        sum_chain(panel, x, first, words - first < chain ? words - first : chain, n, sums);
        if (first + chain >= words)
            break;
        int level = 0;
        for (; chains >> level & 1; level++)
            tile_add(sums, &partial[level], n);
        tile_copy(&partial[level], sums, n);
        chains++;
    }
    for (int level = 0; chains >> level; level++)
        if (chains >> level & 1)
            tile_add(sums, &partial[level], n);
}

/* One panel with n tokens from `position` on; those beyond `count` repeat the last one and are discarded. */
MGLU_INLINE void sum_tile(const struct mglu_cpu_gemm *job, const float *panel, int64_t first_group, int32_t groups,
                          int32_t position, int n)
{
    const int32_t chain = chain_columns(job->matrix->groups) / COLUMNS_PER_WORD;
    const char *x[TILE_TOKENS];
    tile sums;

    MGLU_UNROLL
    for (int t = 0; t < n; t++) {
        int32_t token = job->tokens[position + t < job->count ? position + t : job->count - 1];
        x[t] = job->x + (size_t)token * job->x_stride + (size_t)first_group * GROUP_WORDS * sizeof(float);
    }
    sum_panel(panel, x, groups * GROUP_WORDS, chain, n, &sums);
    for (int t = 0; t < n && position + t < job->count; t++) {
        float *to = job->sums + (size_t)(position + t) * TILE_ROWS;
        MGLU_UNROLL
        for (int v = 0; v < TILE_VECS; v++, to += VEC_LANES)
            vec_store_f32(to, first_group ? vec_add(vec_load_f32(to), sums.sum[t][v]) : sums.sum[t][v]);
    }
}

/* Three tile sizes: as few tiles as possible, none so small that the latency of the additions limits it. */
enum { SMALL_TILE = TILE_TOKENS / 3 ? TILE_TOKENS / 3 : 1, MIDDLE_TILE = TILE_TOKENS - SMALL_TILE };

/* One function for all dtypes of weights and sizes of tiles: gcc 12 spills sums in copies, and in a function for each
 * size. */
static __attribute__((noinline)) void sum_tokens(const struct mglu_cpu_gemm *job, const float *panel,
                                                 int64_t first_group, int32_t groups)
{
    for (int32_t position = 0, left = job->count; left > 0; left = job->count - position) {
        const int two_of_the_middle = left > TILE_TOKENS && left <= TILE_TOKENS + SMALL_TILE;
        if (left > MIDDLE_TILE && !two_of_the_middle) {
            sum_tile(job, panel, first_group, groups, position, TILE_TOKENS);
            position += TILE_TOKENS;
        } else if (left > SMALL_TILE) {
            sum_tile(job, panel, first_group, groups, position, MIDDLE_TILE);
            position += MIDDLE_TILE;
        } else {
            sum_tile(job, panel, first_group, groups, position, SMALL_TILE);
            position += SMALL_TILE;
        }
    }
}

typedef void fill_rows_fn(const struct mglu_cpu_gemm *job, int32_t first, int64_t first_group, int32_t groups,
                          float *panel);

static void multiply_matrix(const struct mglu_cpu_gemm *job, fill_rows_fn *fill)
{
    const int64_t groups = job->matrix->groups;
    _Alignas(64) float panel[PANEL_WORDS * TILE_ROWS];

    if (groups == 0)
        memset(job->sums, 0, (size_t)job->count * TILE_ROWS * sizeof *job->sums);
    for (int64_t group = 0; group < groups; group += PANEL_GROUPS) {
        const int32_t part = groups - group < PANEL_GROUPS ? (int32_t)(groups - group) : PANEL_GROUPS;
        for (int32_t first = 0; first < TILE_ROWS; first += VEC_LANES)
            fill(job, first, group, part, panel);
        sum_tokens(job, panel, group, part);
    }
}

/* The kernel of a dtype, and its functions that fill panels with and without a mask. */
#define GEMM_KERNEL(type, TYPE)                                                                                        \
    static void fill_masked_##type(const struct mglu_cpu_gemm *job, int32_t first, int64_t first_group,                \
                                   int32_t groups, float *panel)                                                       \
    {                                                                                                                  \
        fill_rows(job, first, first_group, groups, 1, MGLU_DTYPE_##TYPE, panel);                                       \
    }                                                                                                                  \
    static void fill_plain_##type(const struct mglu_cpu_gemm *job, int32_t first, int64_t first_group, int32_t groups, \
                                  float *panel)                                                                        \
    {                                                                                                                  \
        fill_rows(job, first, first_group, groups, 0, MGLU_DTYPE_##TYPE, panel);                                       \
    }                                                                                                                  \
    static void gemm_##type(const struct mglu_cpu_gemm *job)                                                           \
    {                                                                                                                  \
        multiply_matrix(job, job->mask == MGLU_CPU_NO_MASK ? fill_plain_##type : fill_masked_##type);                  \
    }

#endif
