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

/* One chain, added to the sums in memory or stored there. */
MGLU_INLINE void sum_chain(const float *left, const float *right, int64_t groups, int add, float *to)
{
    vec sums[TILE_TOKENS][TILE_VECS];

    MGLU_UNROLL
    for (int m = 0; m < TILE_TOKENS; m++) {
        MGLU_UNROLL
        for (int v = 0; v < TILE_VECS; v++)
            sums[m][v] = vec_zero();
    }
    for (int64_t group = 0; group < groups; group++, left += TILE_TOKENS * GROUP_WORDS)
        for (int word = 0; word < GROUP_WORDS; word++, right += MGLU_CPU_TRAIN_BLOCK)
            add_word(left + word, right, sums);
    MGLU_UNROLL
    for (int m = 0; m < TILE_TOKENS; m++) {
        MGLU_UNROLL
        for (int v = 0; v < TILE_VECS; v++) {
            float *at = to + m * MGLU_CPU_TRAIN_BLOCK + v * VEC_LANES;
            vec_store_f32(at, add ? vec_add(vec_load_f32(at), sums[m][v]) : sums[m][v]);
        }
    }
}

static void multiply(const char *left, const char *right, int64_t groups, int64_t chain, int add, float *sums)
{
    const float *rows = (const float *)(const void *)left, *columns = (const float *)(const void *)right;

    for (int column = 0; column < MGLU_CPU_TRAIN_BLOCK; column += TILE_COLUMNS)
        for (int64_t group = 0; group < groups; group += chain)
            sum_chain(rows + group * TILE_TOKENS * GROUP_WORDS,
                      columns + group * GROUP_WORDS * MGLU_CPU_TRAIN_BLOCK + column,
                      groups - group < chain ? groups - group : chain, add || group > 0, sums + column);
}

#endif
