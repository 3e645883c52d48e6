/* SPDX-License-Identifier: MIT */
#ifndef MGLU_PACK_H
#define MGLU_PACK_H

#include <mglu/types.h>

MGLU_BEGIN_DECLS

/**
 * @file
 * The packed format, version 1, as pure functions on host memory: no allocation, no state, safe from any thread. The
 * format itself, with its figure, is in docs/format.md. Use these getters for every size and offset.
 *
 *   weights  [d][h_pad], h_pad = h rounded up to 32, padding zero, row stride a multiple of 64 bytes
 *   scales   quantised weights only: f16 [d][h_pad / 32], one for each group of 32 columns, contiguous
 *   masks    uint32 [d][h_pad / 32][n_m], bit j (LSB first) of word [r][g][i] = M_i[r][32 g + j], padding bits 0
 *
 * q8_0: a group is 32 int8 in the order of the columns; the weight is scale * int8. Every int8 is valid. q4_0: a group
 * is 16 bytes; byte j holds column j in its low nibble and column j + 16 in the high one; the weight is
 *       scale * (nibble - 8), so that zeros, and so padding, are the nibble 8.
 *
 * Sizes are in elements unless a name says bytes. h and d are in 0..MGLU_MAX_SIZE, n_m in 1..MGLU_MAX_MASKS; getters
 * return 0 outside these ranges.
 */

/** The format version that this library writes; it reads no other. */
#define MGLU_FORMAT_VERSION 1

/** Columns in a padded row: h rounded up to a multiple of 32. */
MGLU_API int64_t mglu_packed_columns(int64_t hidden_size);

/** Row stride of packed weights in bytes, without scales: a multiple of 64. */
MGLU_API size_t mglu_packed_weight_stride_bytes(mglu_dtype dtype, int64_t hidden_size);

/** Bytes of all d packed weight rows, without scales. */
MGLU_API size_t mglu_packed_weight_size(mglu_dtype dtype, int64_t intermediate_size, int64_t hidden_size);

/** Offset in bytes of element [row][column] in the packed weights; q4_0: of the byte that has its nibble. */
MGLU_API size_t mglu_packed_weight_offset(mglu_dtype dtype, int64_t hidden_size, int64_t row, int64_t column);

/** Row stride of the scales in bytes: 2 * ceil(h / 32). 0 for a dtype that is not quantised. */
MGLU_API size_t mglu_packed_scale_stride_bytes(mglu_dtype dtype, int64_t hidden_size);

/** Bytes of the scales of all d rows. 0 for a dtype that is not quantised. */
MGLU_API size_t mglu_packed_scale_size(mglu_dtype dtype, int64_t intermediate_size, int64_t hidden_size);

/** Offset in bytes of the scale of element [row][column]. 0 for a dtype that is not quantised. */
MGLU_API size_t mglu_packed_scale_offset(mglu_dtype dtype, int64_t hidden_size, int64_t row, int64_t column);

/** Row stride of the mask words in bytes: 4 · n_m · ceil(h / 32). */
MGLU_API size_t mglu_packed_mask_stride_bytes(int32_t n_masks, int64_t hidden_size);

/** Bytes of the mask words of all d rows. */
MGLU_API size_t mglu_packed_mask_size(int32_t n_masks, int64_t intermediate_size, int64_t hidden_size);

/** Offset in bytes of the word that holds M_mask[row][column]; the bit is column % 32, counted from the LSB. */
MGLU_API size_t mglu_packed_mask_offset(int32_t n_masks, int64_t hidden_size, int64_t row, int64_t column,
                                        int32_t mask);

/**
 * Packs a dense [d][h] matrix, converting to `dtype` with round-to-nearest-even, and writes the zero padding.
 *
 * Floats are quantised as in GGUF, in f32, with a = the group's element of the largest magnitude (the first of several)
 * and r = 1 / scale (0 where that is not finite):
 *
 *   q8_0   scale = |a| / 127    quant = round(r * w), halves away from zero
 *   q4_0   scale = a / -8       nibble = min(15, floor(r * w + 8.5))
 *
 * The scale is rounded to f16 after that. A source of the same quantised dtype is copied; converting a quantised source
 * to any other dtype gives MGLU_ERROR_INVALID_ARGUMENT.
 *
 * `packed` has mglu_packed_weight_size() and `scales` mglu_packed_scale_size() bytes (NULL when there are none);
 * neither may overlap the source. A source element or scale that is not finite, or that overflows as it is stored,
 * gives MGLU_ERROR_NONFINITE naming row and column; `packed` and `scales` are then unspecified. `allow_nonfinite`
 * accepts such elements, except for a quantised dtype, which has no NaN.
 */
MGLU_API MGLU_MUST_CHECK mglu_status mglu_pack_weights(const mglu_array *source, int64_t intermediate_size,
                                                       int64_t hidden_size, mglu_dtype dtype, int allow_nonfinite,
                                                       void *packed, void *scales);

/**
 * The reverse: writes the h columns of each row, converted to `target_dtype` (f32, f16 or bf16), contiguously: [d][h].
 * `scales` is NULL unless `dtype` is quantised.
 */
MGLU_API MGLU_MUST_CHECK mglu_status mglu_unpack_weights(const void *packed, const void *scales, mglu_dtype dtype,
                                                         int64_t intermediate_size, int64_t hidden_size,
                                                         mglu_dtype target_dtype, void *target);

/**
 * Packs a matrix that the application holds in ggml's blocks (ggml_tensor of type Q8_0 or Q4_0): each has the f16 scale
 * of 32 columns, then their quants, 34 bytes in q8_0 and 18 in q4_0. No value changes: quants and scales are copied.
 * For floats use mglu_pack_weights() or mglu_weights_create().
 *
 * `stride_bytes` is the number of bytes from row to row (nb[1] of a ggml_tensor), 0 for contiguous rows; `dtype` is
 * q8_0 or q4_0; `hidden_size` (ne[0]) is a multiple of 32. `packed` has mglu_packed_weight_size() and `scales`
 * mglu_packed_scale_size() bytes. They are an mglu_array with stride_bytes = mglu_packed_weight_stride_bytes(). A scale
 * that is not finite gives MGLU_ERROR_NONFINITE naming row and block; `packed` and `scales` are then unspecified.
 */
MGLU_API MGLU_MUST_CHECK mglu_status mglu_pack_ggml_blocks(const void *blocks, size_t stride_bytes, mglu_dtype dtype,
                                                           int64_t intermediate_size, int64_t hidden_size, void *packed,
                                                           void *scales);

/**
 * Packs n_m masks of any form. `packed` has mglu_packed_mask_size() bytes, 4-byte aligned. A byte that is neither
 * 0 nor 1, a NaN logit or a set padding bit in the source gives MGLU_ERROR_INVALID_ARGUMENT saying where.
 */
MGLU_API MGLU_MUST_CHECK mglu_status mglu_pack_masks(const mglu_mask_array *source, int32_t n_masks,
                                                     int64_t intermediate_size, int64_t hidden_size, uint32_t *packed);

/** Checks packed words (MGLU_MASK_WORDS, any alignment) as mglu_pack_masks() would, without writing them. */
MGLU_API MGLU_MUST_CHECK mglu_status mglu_check_mask_words(const void *words, int32_t n_masks,
                                                           int64_t intermediate_size, int64_t hidden_size);

/** The reverse, to bytes 0 or 1: uint8 [n_m][d][h]. */
MGLU_API MGLU_MUST_CHECK mglu_status mglu_unpack_masks(const uint32_t *packed, int32_t n_masks,
                                                       int64_t intermediate_size, int64_t hidden_size, uint8_t *masks);

MGLU_END_DECLS

#endif
