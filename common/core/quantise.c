/* SPDX-License-Identifier: MIT */
#include "common/core/quantise.h"

#include <math.h>

static size_t packed_stride(mglu_dtype dtype, size_t columns)
{
    return (size_t)(dtype == MGLU_DTYPE_Q4_0 ? mglu_format_q4_0_stride_bytes(columns)
                                             : mglu_format_stride_bytes(columns, 1));
}

/* The largest magnitude of finite elements: their bits are in the same order. */
static float largest_magnitude(const float *elements)
{
    int32_t bits[MGLU_GROUP_COLUMNS], found = 0;

    memcpy(bits, elements, sizeof bits);
    for (int j = 0; j < MGLU_GROUP_COLUMNS; j++) {
        int32_t magnitude = bits[j] & 0x7fffffff;

        found = magnitude > found ? magnitude : found;
    }
    return mglu_f32_from_bits((uint32_t)found);
}

/* The element of the largest magnitude, the first of several. */
static float largest(const float *elements)
{
    float magnitude = largest_magnitude(elements);

    for (int j = 0; magnitude > 0; j++)
        if (fabsf(elements[j]) == magnitude)
            return elements[j];
    return 0;
}

/* Halves away from zero. The value is in the range of int. */
static int round_away(float value)
{
    int whole = (int)value;
    float rest = value - (float)whole;

    return whole + (rest >= 0.5f) - (rest <= -0.5f);
}

/* 0 also where the scale is so small that it is 0 in f16 and its reciprocal is infinite. */
static float reciprocal(float scale)
{
    float found = scale != 0 ? 1 / scale : 0;

    return mglu_is_finite(found) ? found : 0;
}

/* Both write one group and return its scale, not yet rounded. */
static float quantise_q8_0(const float *elements, unsigned char *quants)
{
    float scale = largest_magnitude(elements) / 127, inverse = reciprocal(scale);

    for (int j = 0; j < MGLU_GROUP_COLUMNS; j++)
        quants[j] = (unsigned char)round_away(elements[j] * inverse);
    return scale;
}

static unsigned quantise_nibble(float scaled)
{
    int found = (int)(scaled + 8.5f);

    return found < 15 ? (unsigned)found : 15;
}

static float quantise_q4_0(const float *elements, unsigned char *quants)
{
    float scale = largest(elements) / -8, inverse = reciprocal(scale);

    for (int j = 0; j < MGLU_Q4_0_GROUP_BYTES; j++)
        quants[j] = (unsigned char)(quantise_nibble(elements[j] * inverse) |
                                    quantise_nibble(elements[j + MGLU_Q4_0_GROUP_BYTES] * inverse) << 4);
    return scale;
}

static mglu_status quantise_row(const char *name, size_t row, const void *source, mglu_dtype source_dtype,
                                size_t columns, mglu_dtype dtype, unsigned char *quants, unsigned char *scales)
{
    size_t group_bytes = mglu_row_bytes(dtype, MGLU_GROUP_COLUMNS);
    const unsigned char *from = source;

    for (size_t first = 0; first < columns; first += MGLU_GROUP_COLUMNS) {
        size_t group = first / MGLU_GROUP_COLUMNS;
        size_t count = columns - first < MGLU_GROUP_COLUMNS ? columns - first : MGLU_GROUP_COLUMNS, bad;
        float elements[MGLU_GROUP_COLUMNS] = {0}, scale;

        bad = mglu_convert_elements(from + first * mglu_dtype_size(source_dtype), source_dtype, elements,
                                    MGLU_DTYPE_F32, count);
        if (bad < count)
            return mglu_fail(MGLU_ERROR_NONFINITE, "%s [%zu][%zu] = %g is not finite in %s", name, row, first + bad,
                             (double)elements[bad], mglu_dtype_name(dtype));
        scale = dtype == MGLU_DTYPE_Q8_0 ? quantise_q8_0(elements, quants + group * group_bytes)
                                         : quantise_q4_0(elements, quants + group * group_bytes);
        mglu_store_element(scales, MGLU_DTYPE_F16, group, scale);
        if (!mglu_is_finite(mglu_load_element(scales, MGLU_DTYPE_F16, group)))
            return mglu_fail(MGLU_ERROR_NONFINITE, "%s [%zu][%zu]: the scale of its group, %g, is not finite in f16",
                             name, row, first, (double)scale);
    }
    return MGLU_OK;
}

/* Refuses scales of a quantised source that are not finite. */
static mglu_status check_scales(const char *name, size_t row, const void *scales, size_t columns)
{
    size_t groups = (size_t)mglu_format_groups(columns);
    size_t bad = mglu_first_nonfinite(scales, MGLU_DTYPE_F16, groups);

    if (bad == groups)
        return MGLU_OK;
    return mglu_fail(MGLU_ERROR_NONFINITE, "%s: the scale [%zu][%zu] is not finite", name, row, bad);
}

/* The bits of a packed row's byte that belong to padding columns. */
static int padding_bits(mglu_dtype dtype, size_t columns, size_t byte)
{
    size_t first = byte / MGLU_Q4_0_GROUP_BYTES * MGLU_GROUP_COLUMNS + byte % MGLU_Q4_0_GROUP_BYTES;

    if (dtype == MGLU_DTYPE_Q8_0)
        return byte < columns ? 0 : 0xff;
    return (first < columns ? 0 : 0x0f) | (first + MGLU_Q4_0_GROUP_BYTES < columns ? 0 : 0xf0);
}

/* Copies the quants of a quantised row and clears its padding. */
static void copy_row(const unsigned char *source, mglu_dtype dtype, size_t columns, unsigned char *quants)
{
    memcpy(quants, source, mglu_row_bytes(dtype, columns));
    for (size_t i = columns / MGLU_GROUP_COLUMNS * mglu_row_bytes(dtype, MGLU_GROUP_COLUMNS);
         i < packed_stride(dtype, columns); i++) {
        int bits = padding_bits(dtype, columns, i);
        quants[i] = (unsigned char)((quants[i] & ~bits) | (mglu_padding_byte(dtype) & bits));
    }
}

struct source_rows {
    const unsigned char *quants, *scales;
    size_t stride, scale_stride;
};

static struct source_rows source_rows(const mglu_array *source, size_t columns)
{
    return (struct source_rows){
        source->data,
        source->scales,
        source->stride_bytes ? source->stride_bytes : mglu_row_bytes(source->dtype, columns),
        source->scale_stride_bytes ? source->scale_stride_bytes : mglu_scale_row_bytes(source->dtype, columns),
    };
}

static mglu_status fill_rows(const char *name, const mglu_array *source, size_t rows, size_t columns, mglu_dtype dtype,
                             unsigned char *target, unsigned char *scales)
{
    size_t stride = packed_stride(dtype, columns), scale_bytes = mglu_scale_row_bytes(dtype, columns);
    struct source_rows from = source_rows(source, columns);
    mglu_status status = MGLU_OK;

    for (size_t r = 0; r < rows && status == MGLU_OK; r++, target += stride, scales += scale_bytes) {
        const unsigned char *row = from.quants + r * from.stride;

        memset(target, mglu_padding_byte(dtype), stride);
        if (source->dtype != dtype) {
            status = quantise_row(name, r, row, source->dtype, columns, dtype, target, scales);
            continue;
        }
        copy_row(row, dtype, columns, target);
        memcpy(scales, from.scales + r * from.scale_stride, scale_bytes);
        status = check_scales(name, r, scales, columns);
    }
    return status;
}

mglu_status mglu_quantise_rows(const char *name, const mglu_array *source, size_t rows, size_t columns,
                               mglu_dtype dtype, void *target, void *scales)
{
    return rows && columns ? fill_rows(name, source, rows, columns, dtype, target, scales) : MGLU_OK;
}

mglu_status mglu_check_quantised_rows(const char *name, const mglu_array *source, size_t rows, size_t columns)
{
    struct source_rows from = source_rows(source, columns);
    mglu_dtype dtype = source->dtype;
    mglu_status status = MGLU_OK;

    for (size_t r = 0; r < rows && status == MGLU_OK; r++) {
        const unsigned char *row = from.quants + r * from.stride;

        for (size_t i = columns / MGLU_GROUP_COLUMNS * mglu_row_bytes(dtype, MGLU_GROUP_COLUMNS); i < from.stride; i++)
            if ((row[i] ^ mglu_padding_byte(dtype)) & padding_bits(dtype, columns, i))
                return mglu_fail(MGLU_ERROR_INVALID_ARGUMENT, "%s: the padding of row %zu is not zero", name, r);
        status = check_scales(name, r, from.scales + r * from.scale_stride, columns);
    }
    return status;
}
