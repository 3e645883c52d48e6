/* SPDX-License-Identifier: MIT */
#ifndef MGLU_CORE_PACK_H
#define MGLU_CORE_PACK_H

#include <mglu/pack.h>

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

#endif
