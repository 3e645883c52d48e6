/* SPDX-License-Identifier: MIT */
#include <mglu/pack.h>

#include "common/core/convert.h"
#include "common/core/float_environment.h"
#include "common/core/mask_format.h"
#include "common/core/pack.h"
#include "common/core/quantise.h"

int64_t mglu_packed_columns(int64_t hidden_size)
{
    return mglu_is_size(hidden_size) ? (int64_t)(mglu_format_groups((uint64_t)hidden_size) * MGLU_GROUP_COLUMNS) : 0;
}

size_t mglu_packed_weight_stride_bytes(mglu_dtype dtype, int64_t hidden_size)
{
    if (!mglu_is_size(hidden_size))
        return 0;
    if (dtype == MGLU_DTYPE_Q4_0)
        return (size_t)mglu_format_q4_0_stride_bytes((uint64_t)hidden_size);
    return (size_t)mglu_format_stride_bytes((uint64_t)hidden_size, mglu_row_bytes(dtype, 1));
}

size_t mglu_packed_weight_size(mglu_dtype dtype, int64_t intermediate_size, int64_t hidden_size)
{
    return mglu_is_size(intermediate_size)
               ? (size_t)intermediate_size * mglu_packed_weight_stride_bytes(dtype, hidden_size)
               : 0;
}

size_t mglu_packed_weight_offset(mglu_dtype dtype, int64_t hidden_size, int64_t row, int64_t column)
{
    size_t at = dtype == MGLU_DTYPE_Q4_0 ? (size_t)mglu_format_q4_0_byte((uint64_t)column)
                                         : (size_t)column * mglu_row_bytes(dtype, 1);

    return (size_t)row * mglu_packed_weight_stride_bytes(dtype, hidden_size) + at;
}

size_t mglu_packed_scale_stride_bytes(mglu_dtype dtype, int64_t hidden_size)
{
    return mglu_is_size(hidden_size) ? mglu_scale_row_bytes(dtype, (size_t)hidden_size) : 0;
}

size_t mglu_packed_scale_size(mglu_dtype dtype, int64_t intermediate_size, int64_t hidden_size)
{
    return mglu_is_size(intermediate_size)
               ? (size_t)intermediate_size * mglu_packed_scale_stride_bytes(dtype, hidden_size)
               : 0;
}

size_t mglu_packed_scale_offset(mglu_dtype dtype, int64_t hidden_size, int64_t row, int64_t column)
{
    if (!mglu_dtype_is_quantised(dtype) || !mglu_is_size(hidden_size))
        return 0;
    return sizeof(uint16_t) * (size_t)mglu_format_scale((uint64_t)row, (uint64_t)column / MGLU_GROUP_COLUMNS,
                                                        mglu_format_groups((uint64_t)hidden_size));
}

size_t mglu_packed_mask_stride_bytes(int32_t n_masks, int64_t hidden_size)
{
    if (!mglu_is_mask_count(n_masks) || !mglu_is_size(hidden_size))
        return 0;
    return sizeof(uint32_t) * (size_t)n_masks * (size_t)mglu_format_groups((uint64_t)hidden_size);
}

size_t mglu_packed_mask_size(int32_t n_masks, int64_t intermediate_size, int64_t hidden_size)
{
    return mglu_is_size(intermediate_size)
               ? (size_t)intermediate_size * mglu_packed_mask_stride_bytes(n_masks, hidden_size)
               : 0;
}

size_t mglu_packed_mask_offset(int32_t n_masks, int64_t hidden_size, int64_t row, int64_t column, int32_t mask)
{
    if (!mglu_is_mask_count(n_masks) || !mglu_is_size(hidden_size))
        return 0;
    return sizeof(uint32_t) * (size_t)mglu_format_mask_word((uint64_t)row, (uint64_t)column / MGLU_GROUP_COLUMNS,
                                                            (uint32_t)mask, mglu_format_groups((uint64_t)hidden_size),
                                                            (uint32_t)n_masks);
}

static mglu_status check_matrix(const char *call, int64_t d, int64_t h, mglu_dtype dtype, mglu_dtype other)
{
    if (!mglu_is_size(d) || !mglu_is_size(h))
        return mglu_fail(MGLU_ERROR_INVALID_ARGUMENT, "%s: sizes must be 0..%lld", call, (long long)MGLU_MAX_SIZE);
    if (!mglu_dtype_name(dtype) || !mglu_dtype_name(other))
        return mglu_fail(MGLU_ERROR_INVALID_ARGUMENT, "%s: unknown dtype", call);
    return MGLU_OK;
}

mglu_status mglu_check_source(const char *name, const mglu_array *source, size_t columns, mglu_dtype dtype)
{
    int quantised = mglu_dtype_is_quantised(source->dtype);

    if (!mglu_dtype_name(source->dtype))
        return mglu_fail(MGLU_ERROR_INVALID_ARGUMENT, "%s has an unknown dtype %d", name, (int)source->dtype);
    if (quantised && source->dtype != dtype)
        return mglu_fail(MGLU_ERROR_INVALID_ARGUMENT, "%s is %s, which is not converted to %s", name,
                         mglu_dtype_name(source->dtype), mglu_dtype_name(dtype));
    if (quantised != (source->scales != NULL))
        return mglu_fail(MGLU_ERROR_INVALID_ARGUMENT, "%s is %s and %s scales", name, mglu_dtype_name(source->dtype),
                         quantised ? "lacks" : "has");
    if (source->stride_bytes && source->stride_bytes < mglu_row_bytes(source->dtype, columns))
        return mglu_fail(MGLU_ERROR_INVALID_ARGUMENT, "stride_bytes of %s is %zu bytes, shorter than a row", name,
                         source->stride_bytes);
    if (source->scale_stride_bytes && source->scale_stride_bytes < mglu_scale_row_bytes(source->dtype, columns))
        return mglu_fail(MGLU_ERROR_INVALID_ARGUMENT, "scale_stride_bytes of %s is %zu bytes, shorter than a row", name,
                         source->scale_stride_bytes);
    return MGLU_OK;
}

mglu_status mglu_pack_rows(const char *name, const mglu_array *source, size_t rows, size_t columns, mglu_dtype dtype,
                           size_t target_stride, int allow_nonfinite, void *target)
{
    size_t used = columns * mglu_dtype_size(dtype);
    size_t stride = source->stride_bytes ? source->stride_bytes : columns * mglu_dtype_size(source->dtype);

    for (size_t r = 0; r < rows; r++) {
        unsigned char *row = (unsigned char *)target + r * target_stride;
        const unsigned char *from = (const unsigned char *)source->data + r * stride;
        size_t bad = mglu_convert_elements(from, source->dtype, row, dtype, columns);

        if (bad < columns && !allow_nonfinite)
            return mglu_fail(MGLU_ERROR_NONFINITE, "%s [%zu][%zu] = %g is not finite in %s", name, r, bad,
                             (double)mglu_load_element(from, source->dtype, bad), mglu_dtype_name(dtype));
        memset(row + used, 0, target_stride - used);
    }
    return MGLU_OK;
}

mglu_status mglu_check_rows(const char *name, const mglu_array *source, size_t rows, size_t columns,
                            int allow_nonfinite)
{
    size_t used = columns * mglu_dtype_size(source->dtype);
    size_t stride = source->stride_bytes ? source->stride_bytes : used;

    for (size_t r = 0; r < rows; r++) {
        const unsigned char *row = (const unsigned char *)source->data + r * stride;
        size_t bad = allow_nonfinite ? columns : mglu_first_nonfinite(row, source->dtype, columns);

        if (bad < columns)
            return mglu_fail(MGLU_ERROR_NONFINITE, "%s [%zu][%zu] is not finite", name, r, bad);
        for (size_t i = used; i < stride; i++)
            if (row[i])
                return mglu_fail(MGLU_ERROR_INVALID_ARGUMENT, "%s: the padding of row %zu is not zero", name, r);
    }
    return MGLU_OK;
}

mglu_status mglu_pack_weights(const mglu_array *source, int64_t intermediate_size, int64_t hidden_size,
                              mglu_dtype dtype, int allow_nonfinite, void *packed, void *scales)
{
    MGLU_DEFAULT_FLOATS;
    mglu_status status;

    if (!source)
        return mglu_fail(MGLU_ERROR_INVALID_ARGUMENT, "pack: no source");
    status = check_matrix("pack", intermediate_size, hidden_size, dtype, source->dtype);
    if (status != MGLU_OK || intermediate_size == 0 || hidden_size == 0)
        return status;
    if (!source->data || !packed || (!scales && mglu_dtype_is_quantised(dtype)))
        return mglu_fail(MGLU_ERROR_INVALID_ARGUMENT, "pack: source or target is NULL");
    status = mglu_check_source("weight", source, (size_t)hidden_size, dtype);
    if (status != MGLU_OK)
        return status;
    if (mglu_dtype_is_quantised(dtype))
        return mglu_quantise_rows("weight", source, (size_t)intermediate_size, (size_t)hidden_size, dtype, packed,
                                  scales);
    return mglu_pack_rows("weight", source, (size_t)intermediate_size, (size_t)hidden_size, dtype,
                          mglu_packed_weight_stride_bytes(dtype, hidden_size), allow_nonfinite, packed);
}

/* Writes the first `columns` columns of a packed row as floats. */
static void unpack_row(const void *row, const void *scales, mglu_dtype dtype, size_t columns, mglu_dtype target_dtype,
                       void *target)
{
    if (mglu_dtype_is_quantised(dtype))
        for (size_t c = 0; c < columns; c++)
            mglu_store_element(target, target_dtype, c, mglu_load_weight(row, scales, dtype, c));
    else
        mglu_convert_elements(row, dtype, target, target_dtype, columns);
}

mglu_status mglu_unpack_weights(const void *packed, const void *scales, mglu_dtype dtype, int64_t intermediate_size,
                                int64_t hidden_size, mglu_dtype target_dtype, void *target)
{
    MGLU_DEFAULT_FLOATS;
    const unsigned char *row = packed, *row_scales = scales;
    unsigned char *to = target;
    mglu_status status = check_matrix("unpack", intermediate_size, hidden_size, dtype, target_dtype);

    if (status == MGLU_OK && mglu_dtype_is_quantised(target_dtype))
        return mglu_fail(MGLU_ERROR_INVALID_ARGUMENT, "unpack: the target must be f32, f16 or bf16");
    if (status != MGLU_OK || intermediate_size == 0 || hidden_size == 0)
        return status;
    if (!packed || !target || (!scales && mglu_dtype_is_quantised(dtype)))
        return mglu_fail(MGLU_ERROR_INVALID_ARGUMENT, "unpack: source or target is NULL");
    for (int64_t r = 0; r < intermediate_size; r++) {
        unpack_row(row, row_scales, dtype, (size_t)hidden_size, target_dtype, to);
        row += mglu_packed_weight_stride_bytes(dtype, hidden_size);
        row_scales = row_scales ? row_scales + mglu_packed_scale_stride_bytes(dtype, hidden_size) : NULL;
        to += (size_t)hidden_size * mglu_dtype_size(target_dtype);
    }
    return MGLU_OK;
}
