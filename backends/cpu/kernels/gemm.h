/* SPDX-License-Identifier: MIT */
#ifndef MGLU_CPU_GEMM_H
#define MGLU_CPU_GEMM_H

/*
 * GEMM: the sums of a block of rows for many tokens. gemm.c includes this for weights converted to f32, gemm_bf16dot.c
 * for pairs of bf16; both first define COLUMNS_PER_WORD; load_words(), the masked words of one vector of a group; and
 * add_products(), sums + words * x.
 *
 * A vector has one word of each token of a block, from x as gemm_pack.h packs it. A panel holds the masked words of all
 * rows, converted once for all tokens. A tile holds the sums of some rows for one or two blocks of tokens in registers.
 */

#include "gemm_order.h"
#include "gemm_pack.h"
#include "weights.h"

#include <string.h>

enum {
    GROUP_WORDS = MGLU_GROUP_COLUMNS / COLUMNS_PER_WORD,
    GROUP_PARTS = GROUP_WORDS / VEC_LANES,
    PANEL_GROUPS = PANEL_WORDS / GROUP_WORDS,
    WORD_BYTES = VEC_LANES * sizeof(float), /* of a block of tokens */
    UNROLLED_WORDS = 4,                     /* a divisor of every chain */
    MOST_LEVELS = 5,                        /* of the pairwise summation: a panel has at most 32 chains */
    TILE_SUMS = TILE_TOKENS * TILE_VECS,    /* that registers hold */
    PAIR_ROWS = TILE_SUMS / 2,              /* of a tile for two blocks */
    REMAINING_ROWS = GEMM_ROWS % PAIR_ROWS, /* after whole tiles */
    SINGLE_ROWS = TILE_SUMS < 16 ? 8 : 16,  /* of a tile for one block */
    MOST_TILE_ROWS = SINGLE_ROWS
};

/* The sums of the rows of a tile for each of its blocks. */
typedef struct tile {
    vec sum[MOST_TILE_ROWS][2];
} tile;

/* Part of a matrix, to be prefetched: from its first row on, bytes from row to row and of each group. */
struct part {
    const char *first_row;
    size_t stride, group_bytes;
};

/* Some groups of some rows of a job, and the weights and mask words of the panel after them. */
struct panel {
    int64_t first_group;
    int32_t groups, first_row, rows;
    struct part next_weights, next_masks;
    _Alignas(64) float words[MOST_TILE_ROWS][PANEL_WORDS];
};

/* Some groups of a row, from the weights and mask words of the first on. */
MGLU_INLINE void fill_groups(struct weight_row weights, const uint32_t *masks, int64_t pitch, int groups, int masked,
                             mglu_dtype dtype, float *words)
{
    MGLU_UNROLL
    for (int i = 0; i < groups; i++) {
        const struct weight_group group = group_of(weights, i, dtype);
        const uint32_t mask = masked ? masks[i * pitch] : ~0u;
        MGLU_UNROLL
        for (int part = 0; part < GROUP_PARTS; part++, words += VEC_LANES)
            vec_store_f32(words, load_words(&group, part, mask, dtype));
    }
}

/* One row of a panel. */
MGLU_INLINE void fill_row(const struct mglu_cpu_gemm *job, int64_t row, int masked, mglu_dtype dtype,
                          const struct panel *panel, float *words)
{
    const struct mglu_cpu_matrix *matrix = job->matrix;
    const int64_t first = panel->first_group, pitch = mask_pitch(matrix);
    const uint32_t *masks = mask_words(matrix, row, panel->first_group) + (masked ? job->mask : 0);

    if (panel->groups == PANEL_GROUPS) {
        fill_groups(row_from(matrix, row, first, dtype), masks, pitch, PANEL_GROUPS, masked, dtype, words);
        return;
    }
    for (int64_t group = first; group < first + panel->groups; group++, masks += pitch, words += GROUP_WORDS)
        fill_groups(row_from(matrix, row, group, dtype), masks, pitch, 1, masked, dtype, words);
}

/* Behind a row's last panel is the first one of the next rows. */
MGLU_INLINE void find_next(const struct mglu_cpu_gemm *job, mglu_dtype dtype, struct panel *panel)
{
    const struct mglu_cpu_matrix *matrix = job->matrix;
    const int is_last = panel->first_group + panel->groups >= matrix->groups;
    const size_t row = (size_t)(job->first_row + panel->first_row + (is_last ? GEMM_ROWS : 0));
    const size_t group = is_last ? 0 : (size_t)(panel->first_group + panel->groups);
    const size_t mask_bytes = (size_t)mask_pitch(matrix) * sizeof(uint32_t), weight_bytes = group_bytes(dtype);

    panel->next_weights = (struct part){matrix->rows, matrix->stride_bytes, weight_bytes};
    panel->next_masks = (struct part){(const char *)matrix->masks, mask_bytes * (size_t)matrix->groups, mask_bytes};
    panel->next_weights.first_row += row * matrix->stride_bytes + group * weight_bytes;
    panel->next_masks.first_row += (row * (size_t)matrix->groups + group) * mask_bytes;
}

/* Rows beyond the job's last repeat it. */
MGLU_INLINE void fill_panel(const struct mglu_cpu_gemm *job, int masked, mglu_dtype dtype, struct panel *panel)
{
    for (int32_t i = 0, r = panel->first_row; i < panel->rows; i++, r++)
        fill_row(job, job->first_row + (r < job->rows ? r : job->rows - 1), masked, dtype, panel, panel->words[i]);
    find_next(job, dtype, panel);
}

/* Into the second-level cache, the cache lines that begin with some of a panel's words. It is harmless beyond the end
 * of a matrix. */
MGLU_INLINE void prefetch_part(const struct part *part, int rows, int32_t first_word, int32_t words)
{
    const size_t end = (size_t)(first_word + words) * part->group_bytes / GROUP_WORDS;

    for (size_t line = ((size_t)first_word * part->group_bytes / GROUP_WORDS + 63) / 64 * 64; line < end; line += 64) {
        uintptr_t at = (uintptr_t)part->first_row + line;
        MGLU_UNROLL
        for (int r = 0; r < rows; r++, at += part->stride)
            __builtin_prefetch((const void *)at, 0, 2);
    }
}

MGLU_INLINE void tile_add(tile *to, const tile *other, int rows, int blocks)
{
    MGLU_UNROLL
    for (int r = 0; r < rows; r++) {
        MGLU_UNROLL
        for (int b = 0; b < blocks; b++)
            to->sum[r][b] = vec_add(to->sum[r][b], other->sum[r][b]);
    }
}

MGLU_INLINE void tile_copy(tile *to, const tile *from, int rows, int blocks)
{
    MGLU_UNROLL
    for (int r = 0; r < rows; r++) {
        MGLU_UNROLL
        for (int b = 0; b < blocks; b++)
            to->sum[r][b] = from->sum[r][b];
    }
}

/* Adds the products of one word of each row. */
MGLU_INLINE void add_word(const float *words, const char *x, size_t x_stride, int rows, int blocks, tile *sums)
{
    vec values[2];

    MGLU_UNROLL
    for (int b = 0; b < blocks; b++)
        values[b] = vec_load_f32(x + (size_t)b * x_stride);
    MGLU_UNROLL
    for (int r = 0; r < rows; r++) {
        const vec weight = vec_broadcast(words + r * PANEL_WORDS);
        MGLU_UNROLL
        for (int b = 0; b < blocks; b++)
            sums->sum[r][b] = add_products(sums->sum[r][b], weight, values[b]);
    }
}

/* One chain of `count` words. */
MGLU_INLINE void sum_chain(const float *words, const char *x, size_t x_stride, int32_t count, int rows, int blocks,
                           tile *sums)
{
    MGLU_UNROLL
    for (int r = 0; r < rows; r++) {
        MGLU_UNROLL
        for (int b = 0; b < blocks; b++)
            sums->sum[r][b] = vec_zero();
    }
    for (const float *end = words + count; words < end; words += UNROLLED_WORDS) {
        MGLU_UNROLL
        for (int i = 0; i < UNROLLED_WORDS; i++, x += WORD_BYTES)
            add_word(words + i, x, x_stride, rows, blocks, sums);
    }
}

/*
 * The sums of one panel: partial[k] is the sum of 2^k chains if bit k of the number of chains is set. With each chain
 * of the first tokens without a mask, the same words of the next panel are prefetched.
 */
MGLU_INLINE void sum_chains(const struct panel *panel, const char *x, size_t x_stride, int32_t chain, int prefetch,
                            int rows, int blocks, tile *sums)
{
    const int32_t count = panel->groups * GROUP_WORDS;
    const float *words = panel->words[0];
    tile partial[MOST_LEVELS];
    uint32_t chains = 0;

    for (int32_t first = 0;; first += chain) {
        if (prefetch) {
            prefetch_part(&panel->next_weights, rows, first, chain);
            prefetch_part(&panel->next_masks, rows, first, chain);
        }
        sum_chain(words + first, x + (size_t)first * WORD_BYTES, x_stride,
                  count - first < chain ? count - first : chain, rows, blocks, sums);
        if (first + chain >= count)
            break;
        int level = 0;
        for (; chains >> level & 1; level++)
            tile_add(sums, &partial[level], rows, blocks);
        tile_copy(&partial[level], sums, rows, blocks);
        chains++;
    }
    for (int level = 0; chains >> level; level++)
        if (chains >> level & 1)
            tile_add(sums, &partial[level], rows, blocks);
}

/* One panel with one or two blocks of tokens from `block` on. */
MGLU_INLINE void sum_tile(const struct mglu_cpu_gemm *job, const struct panel *panel, int32_t block, int rows,
                          int blocks)
{
    const char *x = job->x + (size_t)block * job->x_stride + (size_t)panel->first_group * GROUP_WORDS * WORD_BYTES;
    tile sums;

    sum_chains(panel, x, job->x_stride, chain_columns(job->matrix->groups) / COLUMNS_PER_WORD,
               block == 0 && job->mask == MGLU_CPU_NO_MASK, rows, blocks, &sums);
    MGLU_UNROLL
    for (int b = 0; b < blocks; b++) {
        float *to = job->sums + (size_t)(block + b) * BLOCK_SUMS + (size_t)panel->first_row * VEC_LANES;
        MGLU_UNROLL
        for (int r = 0; r < rows; r++, to += VEC_LANES) {
            const vec sum = sums.sum[r][b];
            vec_store_f32(to, panel->first_group ? vec_add(vec_load_f32(to), sum) : sum);
        }
    }
}

/* One function for all dtypes of weights and sizes of tiles: gcc 12 spills sums in copies, and in a function for each
 * size. */
static __attribute__((noinline)) void sum_panel(const struct mglu_cpu_gemm *job, const struct panel *panel)
{
    const int32_t blocks = count_blocks(job->count);
    int32_t block = 0;

    for (; block + 1 < blocks; block += 2) {
        if (panel->rows == PAIR_ROWS)
            sum_tile(job, panel, block, PAIR_ROWS, 2);
        else if (REMAINING_ROWS)
            sum_tile(job, panel, block, REMAINING_ROWS, 2);
    }
    if (block == blocks)
        return;
    if (panel->rows == SINGLE_ROWS)
        sum_tile(job, panel, block, SINGLE_ROWS, 1);
    else if (panel->rows == PAIR_ROWS)
        sum_tile(job, panel, block, PAIR_ROWS, 1);
    else if (REMAINING_ROWS)
        sum_tile(job, panel, block, REMAINING_ROWS, 1);
}

static void transpose_sums(const struct mglu_cpu_gemm *job)
{
    for (int32_t block = 0; block < count_blocks(job->count); block++) {
        float *sums = job->sums + (size_t)block * BLOCK_SUMS, copy[BLOCK_SUMS];
        memcpy(copy, sums, sizeof copy);
        transpose_block(copy, job->count - block * VEC_LANES, sums);
    }
}

typedef void fill_panel_fn(const struct mglu_cpu_gemm *job, struct panel *panel);

/* Tiles are as high as registers allow; rows that are left over make a lower one. */
static void multiply_rows(const struct mglu_cpu_gemm *job, fill_panel_fn *fill, struct panel *panel)
{
    const int32_t rows = job->count > VEC_LANES ? PAIR_ROWS : SINGLE_ROWS;

    for (int32_t first = 0; first < GEMM_ROWS; first += rows) {
        panel->first_row = first;
        panel->rows = GEMM_ROWS - first < rows ? GEMM_ROWS - first : rows;
        fill(job, panel);
        sum_panel(job, panel);
    }
}

static void multiply_matrix(const struct mglu_cpu_gemm *job, fill_panel_fn *fill)
{
    const int64_t groups = job->matrix->groups;
    struct panel panel;

    if (groups == 0)
        memset(job->sums, 0, (size_t)job->count * GEMM_ROWS * sizeof *job->sums);
    for (int64_t group = 0; group < groups; group += PANEL_GROUPS) {
        panel.first_group = group;
        panel.groups = groups - group < PANEL_GROUPS ? (int32_t)(groups - group) : PANEL_GROUPS;
        multiply_rows(job, fill, &panel);
    }
    if (groups > 0)
        transpose_sums(job);
}

/* The kernel of a dtype, and its functions that fill panels with and without a mask. */
#define GEMM_KERNEL(type, TYPE)                                                                                        \
    static void fill_masked_##type(const struct mglu_cpu_gemm *job, struct panel *panel)                               \
    {                                                                                                                  \
        fill_panel(job, 1, MGLU_DTYPE_##TYPE, panel);                                                                  \
    }                                                                                                                  \
    static void fill_plain_##type(const struct mglu_cpu_gemm *job, struct panel *panel)                                \
    {                                                                                                                  \
        fill_panel(job, 0, MGLU_DTYPE_##TYPE, panel);                                                                  \
    }                                                                                                                  \
    static void gemm_##type(const struct mglu_cpu_gemm *job)                                                           \
    {                                                                                                                  \
        multiply_matrix(job, job->mask == MGLU_CPU_NO_MASK ? fill_plain_##type : fill_masked_##type);                  \
    }

#endif
