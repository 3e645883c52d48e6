/* SPDX-License-Identifier: MIT */
#include "quads_avx2.h"

/*
 * GEMM of integers in AVX2, which multiplies unsigned bytes by signed ones and adds pairs of products in 16 bits. These
 * hold the sums of a group where the unsigned bytes are nibbles: 8 * 2 * 15 * 127 = 30480. So a panel has the upper
 * nibbles of all weights + 128 and, of q8_0, the lower ones in a second plane. 128 times the sum of x in the group is
 * subtracted afterwards. A weight of q4_0 is its upper nibble, 16 times as large, and its scale 16 times as small.
 */

/* 8 sums of 16 bits, 2 quads, an x and a product of 16 registers. */
enum { PANEL_ROWS = 16, PLANE_BYTES = 4 * PANEL_ROWS, QUAD_BYTES = 2 * PLANE_BYTES, ROW_VECS = 1, MOST_TOKENS = 4 };

MGLU_INLINE int count_planes(mglu_dtype dtype)
{
    return dtype == MGLU_DTYPE_Q4_0 ? 1 : 2;
}

MGLU_INLINE __m256i lower_nibbles(__m256i v)
{
    return _mm256_and_si256(v, _mm256_set1_epi8(15));
}

/* The quads of a group: of q4_0, nibbles. */
MGLU_INLINE vec load_quads(const char *group, int first, mglu_dtype dtype)
{
    if (dtype == MGLU_DTYPE_Q8_0)
        return _mm256_castsi256_ps(_mm256_xor_si256(_mm256_loadu_si256((const void *)group), _mm256_set1_epi8(-128)));
    const __m128i both = _mm_loadu_si128((const void *)group);
    return _mm256_castsi256_ps(
        lower_nibbles(_mm256_inserti128_si256(_mm256_castsi128_si256(both), _mm_srli_epi16(both, 4), 1)));
}

MGLU_INLINE void store_quad(char *panel, int32_t quad, int32_t row, vec of_rows, mglu_dtype dtype)
{
    const __m256i v = _mm256_castps_si256(of_rows);
    char *to = panel + quad * QUAD_BYTES + 4 * row;

    if (dtype == MGLU_DTYPE_Q4_0) {
        _mm256_store_si256((void *)to, v);
        return;
    }
    _mm256_store_si256((void *)to, lower_nibbles(_mm256_srli_epi16(v, 4)));
    _mm256_store_si256((void *)(to + PLANE_BYTES), lower_nibbles(v));
}

MGLU_INLINE void select_quads(const char *from, int32_t row, const uint32_t *words, char *to, mglu_dtype dtype)
{
    const __m256i zero = _mm256_set1_epi8(8);

    MGLU_UNROLL
    for (int quad = 0; quad < MGLU_GROUP_COLUMNS / 4; quad++) {
        const __m256i selected = selected_bytes(words, quad);
        const size_t at = (size_t)quad * QUAD_BYTES + (size_t)row * 4;
        const __m256i upper = _mm256_load_si256((const void *)(from + at));
        _mm256_store_si256((void *)(to + at), _mm256_blendv_epi8(zero, upper, selected));
        if (count_planes(dtype) == 2) {
            const __m256i lower = _mm256_load_si256((const void *)(from + at + PLANE_BYTES));
            _mm256_store_si256((void *)(to + at + PLANE_BYTES), _mm256_and_si256(lower, selected));
        }
    }
}

#include "fill_int8.h"

/* The sums of pairs of columns for each plane. */
struct pairs {
    __m256i planes[2];
};

MGLU_INLINE void add_quad(const char *quad, int32_t row, const char *const *x, size_t at, int n, mglu_dtype dtype,
                          struct pairs *sums)
{
    __m256i rows[2];

    MGLU_UNROLL
    for (int plane = 0; plane < count_planes(dtype); plane++)
        rows[plane] = _mm256_load_si256((const void *)(quad + plane * PLANE_BYTES + row * 4));
    MGLU_UNROLL
    for (int t = 0; t < n; t++) {
        const __m256i four = _mm256_set1_epi32(*(const int32_t *)(const void *)(x[t] + at));
        MGLU_UNROLL
        for (int plane = 0; plane < count_planes(dtype); plane++)
            sums[t].planes[plane] = _mm256_add_epi16(sums[t].planes[plane], _mm256_maddubs_epi16(rows[plane], four));
    }
}

MGLU_INLINE void add_group(const char *quads, const struct row_words *words, const struct row_scales *scales,
                           int32_t row, const char *const *x, struct mglu_cpu_quantised_group at, int n,
                           mglu_dtype dtype, vec sums[][ROW_VECS])
{
    static const short factors[2] = {16, 1};
    struct pairs pairs[MOST_TOKENS];

    MGLU_UNROLL
    for (int t = 0; t < n; t++)
        pairs[t].planes[0] = pairs[t].planes[1] = _mm256_setzero_si256();
    /* Not unrolled: gcc 12 would multiply all quads first and spill the products. */
    MGLU_ROLLED
    for (int quad = 0; quad < GROUP_QUADS; quad++)
        add_quad(quads + quad * QUAD_BYTES, row, x, at.quants + 4 * (size_t)quad, n, dtype, pairs);
    MGLU_UNROLL
    for (int t = 0; t < n; t++) {
        __m256i integers = _mm256_set1_epi32(*(const int32_t *)(const void *)(x[t] + at.start));
        MGLU_UNROLL
        for (int plane = 0; plane < count_planes(dtype); plane++)
            integers = _mm256_add_epi32(integers,
                                        _mm256_madd_epi16(pairs[t].planes[plane], _mm256_set1_epi16(factors[plane])));
        sums[t][0] = add_scaled(sums[t][0], _mm256_castsi256_ps(integers), scales, row, vec_broadcast(x[t] + at.scale));
    }
}

/* Fewer tokens are faster by GEMV. */
enum { LEAST_TOKENS_Q8_0 = 32, LEAST_TOKENS_Q4_0 = 4, LEAST_AFTER_PAIRS = 4, LEAST_PLAIN_Q4_0 = 6 };

#include "gemm_int8.h"

/* What is faster than GEMM of f32 by registers twice as long. */
const struct mglu_cpu_gemm_int8_kernels mglu_gemm_int8_avx2_for_avx512 = {
    .tile_rows = PANEL_ROWS,
    .gemm = {[MGLU_DTYPE_Q4_0] = gemm_q4_0},
    .least_tokens = {[MGLU_DTYPE_Q4_0] = LEAST_TOKENS_Q4_0},
    .least_after_pairs = LEAST_AFTER_PAIRS,
    .least_plain_q4_0 = LEAST_PLAIN_Q4_0,
    .least_columns = 512,
};
