/* SPDX-License-Identifier: MIT */
#ifndef MGLU_CPU_TRAIN_PRODUCT_H
#define MGLU_CPU_TRAIN_PRODUCT_H

/*
 * The product of a left and a right panel: sums of TILE_TOKENS rows and TILE_VECS vectors of columns in registers. The
 * including file first defines GROUP_WORDS, the 32-bit words of a group in a row, and add_products(), sums + right
 * words * left word.
 */

#include "train.h"
#include "vec.h"

enum { TILE_COLUMNS = TILE_VECS * VEC_LANES };

/* Adds the products of one word of all rows and columns of the tile. */
MGLU_INLINE void add_word(const float *left, const float *right, vec sums[][TILE_VECS])
{
    vec columns[TILE_VECS];

    MGLU_UNROLL
    for (int v = 0; v < TILE_VECS; v++)
        columns[v] = vec_load_f32(right + v * VEC_LANES);
    MGLU_UNROLL
    for (int m = 0; m < TILE_TOKENS; m++) {
        const vec word = vec_broadcast(left + m * GROUP_WORDS);
        MGLU_UNROLL
        for (int v = 0; v < TILE_VECS; v++)
            sums[m][v] = add_products(sums[m][v], columns[v], word);
    }
}

/* What is prefetched during a group: its part of the next left panel, and some of the next right one. */
struct next {
    const char *left, *right;
    int64_t right_bytes;
};

/* The prefetches of one word. */
MGLU_INLINE void prefetch_word(const struct next *next, int word)
{
    const int64_t line = 64 * (int64_t)word;

    if (line < (int64_t)(TILE_TOKENS * GROUP_WORDS * sizeof(float)))
        __builtin_prefetch((const void *)((uintptr_t)next->left + (uintptr_t)line), 0, 2);
    if (line < next->right_bytes)
        __builtin_prefetch((const void *)((uintptr_t)next->right + (uintptr_t)line), 0, 2);
}

/* One chain, added to the sums in memory or stored there. */
MGLU_INLINE void sum_chain(const float *left, const float *right, int64_t groups, struct next next, int add, float *to)
{
    vec sums[TILE_TOKENS][TILE_VECS];

    MGLU_UNROLL
    for (int m = 0; m < TILE_TOKENS; m++) {
        MGLU_UNROLL
        for (int v = 0; v < TILE_VECS; v++)
            sums[m][v] = vec_zero();
    }
    for (int64_t group = 0; group < groups; group++, left += TILE_TOKENS * GROUP_WORDS) {
        for (int word = 0; word < GROUP_WORDS; word++, right += MGLU_CPU_TRAIN_BLOCK) {
            prefetch_word(&next, word);
            add_word(left + word, right, sums);
        }
        next.left += TILE_TOKENS * GROUP_WORDS * sizeof(float);
        next.right += GROUP_WORDS * sizeof(mglu_cpu_train_row);
    }
    MGLU_UNROLL
    for (int m = 0; m < TILE_TOKENS; m++) {
        MGLU_UNROLL
        for (int v = 0; v < TILE_VECS; v++) {
            float *at = to + m * MGLU_CPU_TRAIN_BLOCK + v * VEC_LANES;
            vec_store_f32(at, add ? vec_add(vec_load_f32(at), sums[m][v]) : sums[m][v]);
        }
    }
}

MGLU_INLINE void multiply_panel(const struct mglu_cpu_product *job, int64_t panel, int column)
{
    const int64_t left_words = TILE_TOKENS * GROUP_WORDS, right_words = GROUP_WORDS * MGLU_CPU_TRAIN_BLOCK;
    const int64_t share = right_words * (int64_t)sizeof(float) / job->panels;
    const char *left = job->left + (size_t)panel * job->left_stride;
    const float *rows = (const float *)(const void *)left, *columns = (const float *)(const void *)job->right + column;

    for (int64_t group = 0; group < job->groups; group += job->chain) {
        const int64_t count = job->groups - group < job->chain ? job->groups - group : job->chain;
        const struct next next = {left + job->left_stride + (size_t)(group * left_words) * sizeof(float),
                                  job->next_right + panel * share + (size_t)(group * right_words) * sizeof(float),
                                  share};
        sum_chain(rows + group * left_words, columns + group * right_words, count, next, job->add || group > 0,
                  job->sums[(size_t)panel * job->sums_stride] + column);
    }
}

static void multiply(const struct mglu_cpu_product *job)
{
    for (int64_t panel = 0; panel < job->panels; panel++)
        for (int column = 0; column < MGLU_CPU_TRAIN_BLOCK; column += TILE_COLUMNS)
            multiply_panel(job, panel, column);
}

#endif
