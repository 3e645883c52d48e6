/* SPDX-License-Identifier: MIT */
#include "quads_neon.h"

/*
 * GEMM of integers by NEON's matrix product, of two rows and two tokens with eight signed bytes each. So the panel has
 * eight columns of a row beside each other: its quads are stored in pairs.
 */

/* 8 sums of integers, 8 of floats, 4 pairs of rows and 2 of tokens of 32 registers. */
enum {
    PANEL_ROWS = 16,
    QUAD_BYTES = 4 * PANEL_ROWS,
    ROW_VECS = 2,
    MOST_TOKENS = 4,
    ROW_PAIRS = 2 * ROW_VECS,
    TOKEN_PAIRS = MOST_TOKENS / 2,
    EIGHT_BYTES = 8 * PANEL_ROWS /* of eight columns of all rows */
};

MGLU_INLINE void store_quad(char *panel, int32_t quad, int32_t row, vec of_rows, mglu_dtype dtype)
{
    char *to = panel + quad / 2 * EIGHT_BYTES + quad % 2 * 4 + 8 * row;

    vst1q_lane_f32((float *)(void *)to, of_rows, 0);
    vst1q_lane_f32((float *)(void *)(to + 8), of_rows, 1);
    vst1q_lane_f32((float *)(void *)(to + 16), of_rows, 2);
    vst1q_lane_f32((float *)(void *)(to + 24), of_rows, 3);
}

/* Two rows at a time: a byte of each one's word is copied to its eight columns. */
MGLU_INLINE void select_quads(const char *from, int32_t row, const uint32_t *words, char *to, mglu_dtype dtype)
{
    const uint8x16_t bits = {1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128};
    const uint8x16_t lanes[2] = {{0, 0, 0, 0, 0, 0, 0, 0, 4, 4, 4, 4, 4, 4, 4, 4},
                                 {8, 8, 8, 8, 8, 8, 8, 8, 12, 12, 12, 12, 12, 12, 12, 12}};

    for (int eight = 0; eight < MGLU_GROUP_COLUMNS / 8; eight++)
        for (int pair = 0; pair < 2; pair++) {
            const size_t at = (size_t)eight * EIGHT_BYTES + (size_t)row * 8 + (size_t)pair * 16;
            select_bytes(from + at, words, vaddq_u8(lanes[pair], vdupq_n_u8((uint8_t)eight)), bits, to + at);
        }
}

#include "fill_int8.h"

/* Adds the products of eight columns. A token without another is multiplied twice. */
MGLU_INLINE void add_eight(const char *eight, const char *const *x, size_t at, int n, int32x4_t (*integers)[ROW_PAIRS])
{
    MGLU_UNROLL
    for (int p = 0; p < (n + 1) / 2; p++) {
        const char *first = x[2 * p] + at, *second = x[2 * p + 1 < n ? 2 * p + 1 : 2 * p] + at;
        const int8x16_t tokens = vcombine_s8(vld1_s8((const int8_t *)first), vld1_s8((const int8_t *)second));
        MGLU_UNROLL
        for (int r = 0; r < ROW_PAIRS; r++)
            integers[p][r] = vmmlaq_s32(integers[p][r], load_bytes(eight + 16 * r), tokens);
    }
}

MGLU_INLINE void add_group(const char *quads, const struct row_words *words, const struct row_scales *scales,
                           int32_t row, const char *const *x, struct mglu_cpu_quantised_group at, int n,
                           mglu_dtype dtype, vec sums[][ROW_VECS])
{
    int32x4_t integers[TOKEN_PAIRS][ROW_PAIRS]; /* of a row for two tokens, then of the next row */

    MGLU_UNROLL
    for (int p = 0; p < (n + 1) / 2; p++) {
        MGLU_UNROLL
        for (int r = 0; r < ROW_PAIRS; r++)
            integers[p][r] = vdupq_n_s32(MGLU_CPU_INT8_START_BITS);
    }
    MGLU_UNROLL
    for (int eight = 0; eight < MGLU_GROUP_COLUMNS / 8; eight++)
        add_eight(quads + eight * EIGHT_BYTES + 8 * row, x, at.quants + 8 * (size_t)eight, n, integers);
    MGLU_UNROLL
    for (int t = 0; t < n; t++) {
        MGLU_UNROLL
        for (int v = 0; v < ROW_VECS; v++) {
            const int32x4_t upper = integers[t / 2][2 * v], lower = integers[t / 2][2 * v + 1];
            const int32x4_t of_token = t % 2 ? vuzp2q_s32(upper, lower) : vuzp1q_s32(upper, lower);
            sums[t][v] = add_scaled(sums[t][v], vreinterpretq_f32_s32(of_token), scales, row + v * VEC_LANES,
                                    vec_broadcast(x[t] + at.scale));
        }
    }
}

/* Fewer tokens are faster by GEMV. */
enum { LEAST_TOKENS_Q8_0 = 5, LEAST_TOKENS_Q4_0 = 5, LEAST_AFTER_PAIRS = 5, LEAST_PLAIN_Q4_0 = 5 };

#include "gemm_int8.h"
