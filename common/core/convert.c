/* SPDX-License-Identifier: MIT */
#include "common/core/convert.h"

static size_t first_nonfinite_f32(const void *array, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (!mglu_is_finite(mglu_load_element(array, MGLU_DTYPE_F32, i)))
            return i;
    return count;
}

static size_t first_nonfinite_half(const void *array, size_t count, uint16_t exponent)
{
    const unsigned char *bytes = array;

    for (size_t i = 0; i < count; i++) {
        uint16_t half;
        memcpy(&half, bytes + 2 * i, sizeof half);
        if ((half & exponent) == exponent)
            return i;
    }
    return count;
}

size_t mglu_first_nonfinite(const void *array, mglu_dtype dtype, size_t count)
{
    if (!array || !mglu_dtype_size(dtype))
        return 0;
    if (dtype == MGLU_DTYPE_F32)
        return first_nonfinite_f32(array, count);
    return first_nonfinite_half(array, count, dtype == MGLU_DTYPE_F16 ? 0x7c00u : 0x7f80u);
}

size_t mglu_convert_elements(const void *source, mglu_dtype source_dtype, void *target, mglu_dtype target_dtype,
                             size_t count)
{
    if (count == 0)
        return 0;
    if (source_dtype == target_dtype)
        memcpy(target, source, count * mglu_dtype_size(source_dtype));
    else
        for (size_t i = 0; i < count; i++)
            mglu_store_element(target, target_dtype, i, mglu_load_element(source, source_dtype, i));
    return mglu_first_nonfinite(target, target_dtype, count);
}

mglu_status mglu_convert(const void *source, mglu_dtype source_dtype, void *target, mglu_dtype target_dtype,
                         size_t count)
{
    if (!mglu_dtype_size(source_dtype) || !mglu_dtype_size(target_dtype))
        return mglu_fail(MGLU_ERROR_INVALID_ARGUMENT, "convert: dtypes must be f32, f16 or bf16");
    if (count && (!source || !target))
        return mglu_fail(MGLU_ERROR_INVALID_ARGUMENT, "convert: source or target is NULL");
    mglu_convert_elements(source, source_dtype, target, target_dtype, count);
    return MGLU_OK;
}
