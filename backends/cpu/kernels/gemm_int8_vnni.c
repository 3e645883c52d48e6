/* SPDX-License-Identifier: MIT */
#include "quants_vnni.h"

/*
 * GEMM of integers in AVX-512 VNNI, whose dot product multiplies unsigned bytes by signed ones. The panel has the
 * unsigned ones, weights + 128, so that the x of a token is one operand for all rows: 128 times the sum of x in the
 * group is subtracted beforehand. A weight of q4_0 is 16 times as large in the panel, and its scale 16 times as small.
 */

/* 12 sums of integers, 12 of floats, 2 quads and an x of 32 registers. */
enum { PANEL_ROWS = 32, QUAD_BYTES = 4 * PANEL_ROWS, ROW_VECS = 2, MOST_TOKENS = 6 };

#include "fill_vnni.h"

/* Some rows of a group, for a tile: the words select weights, NULL: all. */
struct group {
    const char *quads;
    const uint32_t *words;
};

/* Adds the products of a quad to the sums of integers. */
MGLU_INLINE void add_quad(struct group group, const char *const *x, size_t at, int n, int quad,
                          __m512i of_words[ROW_VECS], __m512i integers[][ROW_VECS])
{
    __m512i rows[ROW_VECS];

    MGLU_UNROLL
    for (int v = 0; v < ROW_VECS; v++) {
        const char *from = group.quads + quad * QUAD_BYTES + v * VEC_LANES * 4;
        if (group.words && quad % 2 == 0)
            of_words[v] = spread_byte(group.words + v * VEC_LANES, quad / 2);
        rows[v] = group.words ? select_quad(from, of_words[v], quad) : _mm512_load_si512(from);
    }
    MGLU_UNROLL
    for (int t = 0; t < n; t++) {
        const __m512i four = _mm512_set1_epi32(*(const int32_t *)(const void *)(x[t] + at + 4 * quad));
        MGLU_UNROLL
        for (int v = 0; v < ROW_VECS; v++)
            integers[t][v] = _mm512_dpbusd_epi32(integers[t][v], rows[v], four);
    }
}

MGLU_INLINE void add_group(const char *quads, const struct row_words *words, const struct row_scales *scales,
                           int32_t row, const char *const *x, struct mglu_cpu_quantised_group at, int n,
                           mglu_dtype dtype, vec sums[][ROW_VECS])
{
    const struct group group = {quads + 4 * row, words ? words->word + row : NULL};
    __m512i integers[MOST_TOKENS][ROW_VECS], of_words[ROW_VECS];

    MGLU_UNROLL
    for (int t = 0; t < n; t++) {
        MGLU_UNROLL
        for (int v = 0; v < ROW_VECS; v++)
            integers[t][v] = _mm512_set1_epi32(*(const int32_t *)(const void *)(x[t] + at.start));
    }
    MGLU_UNROLL
    for (int quad = 0; quad < GROUP_QUADS; quad++)
        add_quad(group, x, at.quants, n, quad, of_words, integers);
    MGLU_UNROLL
    for (int t = 0; t < n; t++) {
        MGLU_UNROLL
        for (int v = 0; v < ROW_VECS; v++) {
            const vec numbers = _mm512_castsi512_ps(integers[t][v]);
            sums[t][v] = add_scaled(sums[t][v], numbers, scales, row + v * VEC_LANES, vec_broadcast(x[t] + at.scale));
        }
    }
}

/* Fewer tokens are faster by GEMV, and so are two that it sums at once. */
enum { LEAST_TOKENS_Q8_0 = 2, LEAST_TOKENS_Q4_0 = 2, LEAST_AFTER_PAIRS = 3, LEAST_PLAIN_Q4_0 = 2 };

#include "gemm_int8.h"
