/* SPDX-License-Identifier: MIT */
#ifndef MGLU_CORE_QUANTISE_H
#define MGLU_CORE_QUANTISE_H

#include "common/core/convert.h"
#include "common/core/mask_format.h"

/* q8_0 and q4_0: mglu/pack.h defines their values, mask_format.h their layout. */

/* Bytes of a dense row of `columns` columns, of any dtype, without scales. */
static inline size_t mglu_row_bytes(mglu_dtype dtype, size_t columns)
{
    if (dtype == MGLU_DTYPE_Q8_0)
        return columns;
    if (dtype == MGLU_DTYPE_Q4_0)
        return (size_t)mglu_format_groups(columns) * MGLU_Q4_0_GROUP_BYTES;
    return columns * mglu_dtype_size(dtype);
}

/* Bytes of the scales of a row: 0 for a dtype that is not quantised. */
static inline size_t mglu_scale_row_bytes(mglu_dtype dtype, size_t columns)
{
    return mglu_dtype_is_quantised(dtype) ? (size_t)mglu_format_groups(columns) * sizeof(uint16_t) : 0;
}

/* A byte of padding: two nibbles of zero weight, or an int8 of zero. */
static inline int mglu_padding_byte(mglu_dtype dtype)
{
    return dtype == MGLU_DTYPE_Q4_0 ? MGLU_Q4_0_ZERO << 4 | MGLU_Q4_0_ZERO : 0;
}

/* The integer that a group's scale is multiplied by. */
static inline int mglu_load_quant(const void *row, mglu_dtype dtype, size_t column)
{
    const unsigned char *bytes = row;

    if (dtype == MGLU_DTYPE_Q8_0)
        return (int)(signed char)bytes[column];
    return (int)(bytes[mglu_format_q4_0_byte(column)] >> mglu_format_q4_0_shift(column) & 15) - MGLU_Q4_0_ZERO;
}

/* Element `column` of a packed row as f32: exact for every dtype, quantised ones included. */
static inline float mglu_load_weight(const void *row, const void *scales, mglu_dtype dtype, size_t column)
{
    if (!mglu_dtype_is_quantised(dtype))
        return mglu_load_element(row, dtype, column);
    return mglu_load_element(scales, MGLU_DTYPE_F16, column / MGLU_GROUP_COLUMNS) *
           (float)mglu_load_quant(row, dtype, column);
}

/*
 * Fills packed rows of a quantised dtype, from floats or from rows of that dtype. `name` is for the text of an error.
 * Arguments are not checked; `rows` or `columns` may be 0.
 */
mglu_status mglu_quantise_rows(const char *name, const mglu_array *source, size_t rows, size_t columns,
                               mglu_dtype dtype, void *target, void *scales);

/* Refuses what mglu_quantise_rows() would in a source that is already packed, and padding that is not zero. */
mglu_status mglu_check_quantised_rows(const char *name, const mglu_array *source, size_t rows, size_t columns);

#endif
