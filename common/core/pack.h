/* SPDX-License-Identifier: MIT */
#ifndef MGLU_CORE_PACK_H
#define MGLU_CORE_PACK_H

#include <mglu/pack.h>

/* Whether a number of rows, columns or masks is one that layers have. */
static inline int mglu_is_size(int64_t size)
{
    return size >= 0 && size <= MGLU_MAX_SIZE;
}

static inline int mglu_is_mask_count(int32_t n_masks)
{
    return n_masks >= 1 && n_masks <= MGLU_MAX_MASKS;
}

/*
 * Whether `source`, whose data is not NULL, can be stored as `dtype`: known dtypes, scales exactly when quantised, and
 * strides of at least a row.
 */
mglu_status mglu_check_source(const char *name, const mglu_array *source, size_t columns, mglu_dtype dtype);

/*
 * Converts rows of floats to `dtype` and pads each with zeros to target_stride bytes. `name` is for the text of
 * MGLU_ERROR_NONFINITE. Arguments are not checked; `rows` or `columns` may be 0.
 */
mglu_status mglu_pack_rows(const char *name, const mglu_array *source, size_t rows, size_t columns, mglu_dtype dtype,
                           size_t target_stride, int allow_nonfinite, void *target);

/* Checks rows of floats in the packed layout: what is not finite, unless it is allowed, and padding that is not zero.
 */
mglu_status mglu_check_rows(const char *name, const mglu_array *source, size_t rows, size_t columns,
                            int allow_nonfinite);

/*
 * Packs rows first..first + count - 1 of [d][h] masks of any form but MGLU_MASK_WORDS. `packed` is the word of row 0.
 * Arguments are not checked.
 */
mglu_status mglu_pack_mask_rows(const mglu_mask_array *source, int32_t n_masks, int64_t d, int64_t h, int64_t first,
                                int64_t count, uint32_t *packed);

#endif
