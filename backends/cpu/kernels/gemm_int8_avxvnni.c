/* SPDX-License-Identifier: MIT */
#include "quads_avx2.h"

/*
 * GEMM of integers in AVX-VNNI: as gemm_int8_vnni.c in half as many registers of half the size. The panel has weights +
 * 128, of q4_0 16 times as large with a scale 16 times as small.
 */

/* 12 sums of integers, 2 quads and an x of 16 registers; the sums of floats are in memory between groups. */
enum { PANEL_ROWS = 16, QUAD_BYTES = 4 * PANEL_ROWS, ROW_VECS = 2, MOST_TOKENS = 6 };

MGLU_INLINE __m256i zeros(void)
{
    return _mm256_set1_epi8(-128);
}

/* The quads of a group. */
MGLU_INLINE vec load_quads(const char *group, int first, mglu_dtype dtype)
{
    if (dtype == MGLU_DTYPE_Q8_0)
        return _mm256_castsi256_ps(_mm256_xor_si256(_mm256_loadu_si256((const void *)group), zeros()));
    const __m128i both = _mm_loadu_si128((const void *)group);
    const __m256i upper = _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_slli_epi16(both, 4)), both, 1);
    return _mm256_castsi256_ps(_mm256_and_si256(upper, _mm256_set1_epi8(-16)));
}

MGLU_INLINE void store_quad(char *panel, int32_t quad, int32_t row, vec of_rows, mglu_dtype dtype)
{
    _mm256_store_ps((float *)(void *)(panel + quad * QUAD_BYTES + 4 * row), of_rows);
}

MGLU_INLINE void select_quads(const char *from, int32_t row, const uint32_t *words, char *to, mglu_dtype dtype)
{
    MGLU_UNROLL
    for (int quad = 0; quad < MGLU_GROUP_COLUMNS / 4; quad++) {
        const __m256i selected = selected_bytes(words, quad);
        const size_t at = (size_t)quad * QUAD_BYTES + (size_t)row * 4;
        _mm256_store_si256((void *)(to + at),
                           _mm256_blendv_epi8(zeros(), _mm256_load_si256((const void *)(from + at)), selected));
    }
}

#include "fill_int8.h"

MGLU_INLINE void add_quad(const char *quad, int32_t row, const char *const *x, size_t at, int n,
                          __m256i integers[][ROW_VECS])
{
    __m256i rows[ROW_VECS];

    MGLU_UNROLL
    for (int v = 0; v < ROW_VECS; v++)
        rows[v] = _mm256_load_si256((const void *)(quad + (row + v * VEC_LANES) * 4));
    MGLU_UNROLL
    for (int t = 0; t < n; t++) {
        const __m256i four = _mm256_set1_epi32(*(const int32_t *)(const void *)(x[t] + at));
        MGLU_UNROLL
        for (int v = 0; v < ROW_VECS; v++)
            integers[t][v] = _mm256_dpbusd_avx_epi32(integers[t][v], rows[v], four);
    }
}

MGLU_INLINE void add_group(const char *quads, const struct row_words *words, const struct row_scales *scales,
                           int32_t row, const char *const *x, struct mglu_cpu_quantised_group at, int n,
                           mglu_dtype dtype, vec sums[][ROW_VECS])
{
    __m256i integers[MOST_TOKENS][ROW_VECS];

    MGLU_UNROLL
    for (int t = 0; t < n; t++) {
        MGLU_UNROLL
        for (int v = 0; v < ROW_VECS; v++)
            integers[t][v] = _mm256_set1_epi32(*(const int32_t *)(const void *)(x[t] + at.start));
    }
    MGLU_UNROLL
    for (int quad = 0; quad < GROUP_QUADS; quad++)
        add_quad(quads + quad * QUAD_BYTES, row, x, at.quants + 4 * (size_t)quad, n, integers);
    MGLU_UNROLL
    for (int t = 0; t < n; t++) {
        MGLU_UNROLL
        for (int v = 0; v < ROW_VECS; v++) {
            const vec numbers = _mm256_castsi256_ps(integers[t][v]);
            sums[t][v] = add_scaled(sums[t][v], numbers, scales, row + v * VEC_LANES, vec_broadcast(x[t] + at.scale));
        }
    }
}

/* Fewer tokens are faster by GEMV. */
enum { LEAST_TOKENS_Q8_0 = 4, LEAST_TOKENS_Q4_0 = 4, LEAST_AFTER_PAIRS = 4, LEAST_PLAIN_Q4_0 = 5 };

#include "gemm_int8.h"
