/* SPDX-License-Identifier: MIT */
#ifndef MGLU_CORE_PACK_H
#define MGLU_CORE_PACK_H

#include <mglu/pack.h>

/*
 * Converts rows to `dtype` and fills each up with zeros to target_stride bytes. `name` is for the text of
 * MGLU_ERROR_NONFINITE. Arguments are right; `rows` or `columns` may be 0.
 */
mglu_status mglu_pack_rows(const char *name, const mglu_array *source, size_t rows, size_t columns, mglu_dtype dtype,
                           size_t target_stride, int allow_nonfinite, void *target);

/*
 * MGLU_ERROR_INVALID_ARGUMENT naming mask and row where a padding bit of packed words (any alignment) is set. Sizes are
 * right.
 */
mglu_status mglu_check_mask_padding(const void *words, int32_t n_masks, int64_t d, int64_t h);

#endif
