/* SPDX-License-Identifier: MIT */
#include "quads_neon.h"

/* GEMM of integers by NEON's dot product, which multiplies signed bytes. A part of x has the columns of four quads. */

/* 12 sums of integers, 12 of floats, 3 parts of x and a quad of 32 registers. */
enum { PANEL_ROWS = 16, QUAD_BYTES = 4 * PANEL_ROWS, ROW_VECS = 4, MOST_TOKENS = 3, PART_QUADS = 4 };

MGLU_INLINE void store_quad(char *panel, int32_t quad, int32_t row, vec of_rows, mglu_dtype dtype)
{
    vst1q_f32((float *)(void *)(panel + quad * QUAD_BYTES + 4 * row), of_rows);
}

/* A byte of each row's word is copied to all four of its columns. */
MGLU_INLINE void select_quads(const char *from, int32_t row, const uint32_t *words, char *to, mglu_dtype dtype)
{
    const uint8x16_t lanes = {0, 0, 0, 0, 4, 4, 4, 4, 8, 8, 8, 8, 12, 12, 12, 12};
    const uint8x16_t even = {1, 2, 4, 8, 1, 2, 4, 8, 1, 2, 4, 8, 1, 2, 4, 8};

    for (int quad = 0; quad < MGLU_GROUP_COLUMNS / 4; quad++) {
        const uint8x16_t byte = vdupq_n_u8((uint8_t)(quad / 2)), bits = quad % 2 ? vshlq_n_u8(even, 4) : even;
        const size_t at = (size_t)quad * QUAD_BYTES + (size_t)row * 4;
        select_bytes(from + at, words, vaddq_u8(lanes, byte), bits, to + at);
    }
}

#include "fill_int8.h"

/* The lane must be a constant for the compiler even where nothing is unrolled. */
MGLU_INLINE int32x4_t add_dots(int32x4_t sums, int8x16_t rows, int8x16_t x, int lane)
{
    switch (lane) {
    case 0:
        return vdotq_laneq_s32(sums, rows, x, 0);
    case 1:
        return vdotq_laneq_s32(sums, rows, x, 1);
    case 2:
        return vdotq_laneq_s32(sums, rows, x, 2);
    default:
        return vdotq_laneq_s32(sums, rows, x, 3);
    }
}

MGLU_INLINE void add_part(const char *quads, const char *const *x, size_t at, int n, int32x4_t (*integers)[ROW_VECS])
{
    int8x16_t columns[MOST_TOKENS];

    MGLU_UNROLL
    for (int t = 0; t < n; t++)
        columns[t] = load_bytes(x[t] + at);
    MGLU_UNROLL
    for (int quad = 0; quad < PART_QUADS; quad++) {
        MGLU_UNROLL
        for (int v = 0; v < ROW_VECS; v++) {
            const int8x16_t rows = load_bytes(quads + quad * QUAD_BYTES + 16 * v);
            MGLU_UNROLL
            for (int t = 0; t < n; t++)
                integers[t][v] = add_dots(integers[t][v], rows, columns[t], quad);
        }
    }
}

MGLU_INLINE void add_group(const char *quads, const struct row_words *words, const struct row_scales *scales,
                           int32_t row, const char *const *x, struct mglu_cpu_quantised_group at, int n,
                           mglu_dtype dtype, vec sums[][ROW_VECS])
{
    int32x4_t integers[MOST_TOKENS][ROW_VECS];

    MGLU_UNROLL
    for (int t = 0; t < n; t++) {
        MGLU_UNROLL
        for (int v = 0; v < ROW_VECS; v++)
            integers[t][v] = vdupq_n_s32(MGLU_CPU_INT8_START_BITS);
    }
    for (int quad = 0; quad < GROUP_QUADS; quad += PART_QUADS)
        add_part(quads + quad * QUAD_BYTES + 4 * row, x, at.quants + 4 * (size_t)quad, n, integers);
    MGLU_UNROLL
    for (int t = 0; t < n; t++) {
        MGLU_UNROLL
        for (int v = 0; v < ROW_VECS; v++)
            sums[t][v] = add_scaled(sums[t][v], vreinterpretq_f32_s32(integers[t][v]), scales, row + v * VEC_LANES,
                                    vec_broadcast(x[t] + at.scale));
    }
}

/* Fewer tokens are faster by GEMV. */
enum { LEAST_TOKENS_Q8_0 = 5, LEAST_TOKENS_Q4_0 = 5, LEAST_AFTER_PAIRS = 5, LEAST_PLAIN_Q4_0 = 5 };

#include "gemm_int8.h"
