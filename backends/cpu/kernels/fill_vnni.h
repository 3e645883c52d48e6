/* SPDX-License-Identifier: MIT */
#ifndef MGLU_CPU_FILL_VNNI_H
#define MGLU_CPU_FILL_VNNI_H

/*
 * Filling the panels of GEMM of integers in AVX-512 VNNI. Quants, scales and mask words are all transposed 16 bytes of
 * 16 rows at a time: the words of four masks at once.
 */

/* As in fill_int8.h; values of 32 bits, and bytes, of a row that are transposed at once. */
enum { COLUMNS = 4, COLUMN_BYTES = 16, WORD_MASKS = COLUMNS, MOST_SELECTED = 4, AHEAD_GROUPS = 4 };

#include "panel_int8.h"

/* Four 32-bit values of a row, of which the first `count` are read. */
MGLU_INLINE __m128i load_row(const char *row, int count)
{
    return count == COLUMNS ? _mm_loadu_si128((const void *)row)
                            : _mm_maskz_loadu_epi32((__mmask8)((1u << count) - 1), row);
}

/*
 * The first 16 bytes of 16 rows from `at` on, as four vectors with a value of each row. Most of the transposition is
 * done by loads, into quarters of registers: others would take one unit alone.
 */
MGLU_INLINE void load_columns(const char *const *rows, size_t at, int count, __m512i columns[COLUMNS])
{
    __m512i of[COLUMNS];

    MGLU_UNROLL
    for (int i = 0; i < COLUMNS; i++) {
        of[i] = _mm512_castsi128_si512(load_row(rows[i] + at, count));
        of[i] = _mm512_inserti32x4(of[i], load_row(rows[i + 4] + at, count), 1);
        of[i] = _mm512_inserti32x4(of[i], load_row(rows[i + 8] + at, count), 2);
        of[i] = _mm512_inserti32x4(of[i], load_row(rows[i + 12] + at, count), 3);
    }
    const __m512i low = _mm512_unpacklo_epi32(of[0], of[1]), high = _mm512_unpackhi_epi32(of[0], of[1]);
    const __m512i next_low = _mm512_unpacklo_epi32(of[2], of[3]), next_high = _mm512_unpackhi_epi32(of[2], of[3]);
    columns[0] = _mm512_unpacklo_epi64(low, next_low);
    columns[1] = _mm512_unpackhi_epi64(low, next_low);
    columns[2] = _mm512_unpacklo_epi64(high, next_high);
    columns[3] = _mm512_unpackhi_epi64(high, next_high);
}

/* Stores the quads of 16 bytes of each row: of half a group, or of a group of nibbles. */
MGLU_INLINE void store_quads(char *panel, const __m512i columns[COLUMNS], mglu_dtype dtype)
{
    const __m512i upper = _mm512_set1_epi8(-16);

    MGLU_UNROLL
    for (int i = 0; i < COLUMNS; i++) {
        if (dtype == MGLU_DTYPE_Q8_0) {
            _mm512_store_si512(panel + i * QUAD_BYTES, _mm512_xor_si512(columns[i], _mm512_set1_epi8(-128)));
            continue;
        }
        _mm512_store_si512(panel + i * QUAD_BYTES, _mm512_and_si512(_mm512_slli_epi16(columns[i], 4), upper));
        _mm512_store_si512(panel + (i + COLUMNS) * QUAD_BYTES, _mm512_and_si512(columns[i], upper));
    }
}

/* VEC_LANES rows of a panel, from row `first` of the block on. */
MGLU_INLINE void fill_rows(const struct mglu_cpu_gemm_int8 *job, int32_t first, int64_t first_group, int32_t groups,
                           mglu_dtype dtype, char *panel)
{
    const size_t of_row = (size_t)groups * group_bytes(dtype),
                 of_columns = GROUP_BYTES * COLUMN_BYTES / group_bytes(dtype);
    const char *rows[VEC_LANES];

    for (int i = 0; i < VEC_LANES; i++)
        rows[i] = row_from(job->matrix, row_of(job, first + i), first_group, dtype).weights;
    panel += 4 * first;
    for (size_t at = 0; at < of_row; at += COLUMN_BYTES, panel += of_columns) {
        __m512i columns[COLUMNS];
        load_columns(rows, at, COLUMNS, columns);
        store_quads(panel, columns, dtype);
    }
}

MGLU_INLINE void fill_scales(const struct mglu_cpu_gemm_int8 *job, int64_t first_group, int32_t groups,
                             mglu_dtype dtype, struct row_scales *scales)
{
    for (int32_t first = 0; first < PANEL_ROWS; first += VEC_LANES) {
        vec of_rows[VEC_LANES];
        MGLU_UNROLL
        for (int i = 0; i < VEC_LANES; i++) {
            const uint16_t *of_row = row_from(job->matrix, row_of(job, first + i), first_group, dtype).scales;
            of_rows[i] = vec_mul(vec_load_some_f16(of_row, groups), scale_factor(dtype));
        }
        vec_transpose(of_rows);
        for (int32_t group = 0; group < groups; group++) {
            vec_store_f32(scales[group].scale + first, of_rows[group]);
            vec_store_f32(scales[group].start + first, vec_mul(of_rows[group], _mm512_set1_ps(-MGLU_CPU_INT8_START)));
        }
    }
}

/* Words of a group in what order_words() makes: those of all masks where they are few, next to each other in memory. */
MGLU_INLINE int64_t words_of_group(const struct mglu_cpu_gemm_int8 *job)
{
    return mask_pitch(job->matrix) < WORD_MASKS ? mask_pitch(job->matrix) : WORD_MASKS;
}

/* Orders the mask words of the groups of a panel by rows, for WORD_MASKS masks from `mask` on, as far as there are. */
MGLU_INLINE void order_words(const struct mglu_cpu_gemm_int8 *job, int32_t mask, int64_t first_group, int32_t groups,
                             struct row_words *words)
{
    const int64_t pitch = mask_pitch(job->matrix), all = groups * words_of_group(job);
    const size_t from_bytes = (size_t)(pitch < WORD_MASKS ? WORD_MASKS : pitch) * sizeof(uint32_t);

    for (int32_t first = 0; first < PANEL_ROWS; first += VEC_LANES) {
        const char *rows[VEC_LANES];
        size_t at = 0;
        for (int i = 0; i < VEC_LANES; i++)
            rows[i] = (const char *)(mask_words(job->matrix, row_of(job, first + i), first_group) + mask);
        for (int64_t word = 0; word < all; word += COLUMNS, at += from_bytes) {
            const int64_t left = pitch < WORD_MASKS ? all - word : pitch - mask;
            __m512i columns[COLUMNS];
            if (left >= COLUMNS)
                load_columns(rows, at, COLUMNS, columns);
            else
                load_columns(rows, at, (int)left, columns);
            MGLU_UNROLL
            for (int i = 0; i < COLUMNS; i++)
                _mm512_store_si512(words[word + i].word + first, columns[i]);
        }
    }
}

/* A byte of the word of each row, copied to all four bytes of the row. */
MGLU_INLINE __m512i spread_byte(const uint32_t *words, int byte)
{
    const __m512i lanes = _mm512_set4_epi32(0x0c0c0c0c, 0x08080808, 0x04040404, 0);

    return _mm512_shuffle_epi8(_mm512_load_si512(words), _mm512_add_epi8(lanes, _mm512_set1_epi8((char)byte)));
}

/* The bytes of a quad that four bits of each row's word select, where `of_words` has that byte of it. */
MGLU_INLINE __m512i select_quad(const char *from, __m512i of_words, int quad)
{
    const __m512i bits = _mm512_set1_epi32(quad % 2 ? (int)0x80402010 : 0x08040201);

    return _mm512_mask_blend_epi8(_mm512_test_epi8_mask(of_words, bits), _mm512_set1_epi8(-128),
                                  _mm512_load_si512(from));
}

MGLU_INLINE void select_quads(const char *from, const uint32_t *words, char *to)
{
    MGLU_UNROLL
    for (int quad = 0; quad < GROUP_QUADS; quad++)
        _mm512_store_si512(to + quad * QUAD_BYTES,
                           select_quad(from + quad * QUAD_BYTES, spread_byte(words, quad / 2), quad));
}

/* The panel of one mask, with the words that were ordered for it. */
MGLU_INLINE void select_panel(const struct mglu_cpu_gemm_int8 *job, int32_t mask, const struct row_words *words,
                              int32_t groups, mglu_dtype dtype, const char *panel, char *selected)
{
    const int64_t pitch = words_of_group(job);

    words += mask % WORD_MASKS;
    for (int32_t group = 0; group < groups; group++, words += pitch)
        for (int32_t first = 0; first < PANEL_ROWS; first += VEC_LANES)
            select_quads(panel + group * GROUP_BYTES + 4 * first, words->word + first,
                         selected + group * GROUP_BYTES + 4 * first);
}

#endif
