/* SPDX-License-Identifier: MIT */
#ifndef MGLU_PACK_H
#define MGLU_PACK_H

#include <mglu/types.h>

MGLU_BEGIN_DECLS

/**
 * @file
 * The packed format, version 1, as pure functions on host memory: no allocation, no state, safe from any thread.
 * The format itself, with its figure, is in docs/format.md. Ask these getters for every size and offset.
 *
 *   weights  [d][h_pad], h_pad = h rounded up to 32, padding zero, row stride a multiple of 64 bytes
 *   masks    uint32 [d][h_pad / 32][n_m], bit j (LSB first) of word [r][g][i] = M_i[r][32 g + j], padding bits 0
 *
 * Sizes are in elements unless a name says bytes. h and d lie in 0..MGLU_MAX_SIZE, n_m in 1..MGLU_MAX_MASKS;
 * getters return 0 outside these ranges.
 */

/** Number of the format that this library writes and the only one that it reads. */
#define MGLU_FORMAT_VERSION 1

/** Columns in a row once padded: h rounded up to a whole group of 32. */
MGLU_API int64_t mglu_packed_columns(int64_t hidden_size);

/** Bytes from one packed weight row to the next: a multiple of 64. 0 for a quantised dtype. */
MGLU_API size_t mglu_packed_weight_row_stride(mglu_dtype dtype, int64_t hidden_size);

/** Bytes of all d packed weight rows. */
MGLU_API size_t mglu_packed_weight_size(mglu_dtype dtype, int64_t intermediate_size, int64_t hidden_size);

/** Offset in bytes of element [row][column] in the packed weights. */
MGLU_API size_t mglu_packed_weight_offset(mglu_dtype dtype, int64_t hidden_size, int64_t row, int64_t column);

/** Bytes from one row of mask words to the next: 4 · n_m · ceil(h / 32). */
MGLU_API size_t mglu_packed_mask_row_stride(int32_t n_masks, int64_t hidden_size);

/** Bytes of the mask words of all d rows. */
MGLU_API size_t mglu_packed_mask_size(int32_t n_masks, int64_t intermediate_size, int64_t hidden_size);

/** Offset in bytes of the word that holds M_mask[row][column]; the bit is column % 32, counted from the LSB. */
MGLU_API size_t mglu_packed_mask_offset(int32_t n_masks, int64_t hidden_size, int64_t row, int64_t column,
                                        int32_t mask);

/**
 * Packs a dense [d][h] matrix, converting to `dtype` with round-to-nearest-even, and writes the zero padding.
 *
 * `packed` has mglu_packed_weight_size() bytes and must not overlap the source. A source element that is not
 * finite, or that overflows the stored dtype, gives MGLU_ERROR_NONFINITE naming row and column, unless
 * `allow_nonfinite` is nonzero; `packed` is then unspecified.
 */
MGLU_API MGLU_MUST_CHECK mglu_status mglu_pack_weights(const mglu_array *source, int64_t intermediate_size,
                                                       int64_t hidden_size, mglu_dtype dtype, int allow_nonfinite,
                                                       void *packed);

/** The reverse: writes the h columns of each row, converted to `target_dtype`, without gaps: [d][h]. */
MGLU_API MGLU_MUST_CHECK mglu_status mglu_unpack_weights(const void *packed, mglu_dtype dtype,
                                                         int64_t intermediate_size, int64_t hidden_size,
                                                         mglu_dtype target_dtype, void *target);

/**
 * Packs n_m masks of any form. `packed` has mglu_packed_mask_size() bytes, 4-byte aligned. A byte that is neither
 * 0 nor 1, a NaN logit or a set padding bit in the source gives MGLU_ERROR_INVALID_ARGUMENT saying where.
 */
MGLU_API MGLU_MUST_CHECK mglu_status mglu_pack_masks(const mglu_mask_array *source, int32_t n_masks,
                                                     int64_t intermediate_size, int64_t hidden_size, uint32_t *packed);

/** What mglu_pack_masks() would say to packed words (MGLU_MASK_WORDS, any alignment) without writing them. */
MGLU_API MGLU_MUST_CHECK mglu_status mglu_check_mask_words(const void *words, int32_t n_masks,
                                                           int64_t intermediate_size, int64_t hidden_size);

/** The reverse, to bytes 0 or 1: uint8 [n_m][d][h]. */
MGLU_API MGLU_MUST_CHECK mglu_status mglu_unpack_masks(const uint32_t *packed, int32_t n_masks,
                                                       int64_t intermediate_size, int64_t hidden_size, uint8_t *masks);

MGLU_END_DECLS

#endif
