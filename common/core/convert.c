/* SPDX-License-Identifier: MIT */
#include "common/core/convert.h"

/*
 * Elements are converted and checked in blocks, in loops without branches, which compilers vectorise. A block with an
 * element that such a loop gets wrong, or looks for, is done again one by one.
 */
enum { BLOCK = 32 };

/* Exponents of all ones: infinities and NaN. */
static uint32_t nonfinite_exponent(mglu_dtype dtype)
{
    return dtype == MGLU_DTYPE_F32 ? 0x7f800000u : dtype == MGLU_DTYPE_F16 ? 0x7c00u : 0x7f80u;
}

static int has_nonfinite_f32(const unsigned char *block)
{
    uint32_t elements[BLOCK], found = 0;

    memcpy(elements, block, sizeof elements);
    for (size_t i = 0; i < BLOCK; i++)
        found |= (elements[i] & 0x7f800000u) == 0x7f800000u;
    return found != 0;
}

static int has_nonfinite_half(const unsigned char *block, uint16_t exponent)
{
    uint16_t elements[BLOCK], found = 0;

    memcpy(elements, block, sizeof elements);
    for (size_t i = 0; i < BLOCK; i++)
        found |= (uint16_t)((elements[i] & exponent) == exponent);
    return found != 0;
}

size_t mglu_first_nonfinite(const void *array, mglu_dtype dtype, size_t count)
{
    const unsigned char *bytes = array;
    size_t size = mglu_dtype_size(dtype), i = 0;
    uint16_t exponent = (uint16_t)nonfinite_exponent(dtype);

    if (!array || !size)
        return 0;
    while (count - i >= BLOCK && !(size == sizeof(float) ? has_nonfinite_f32(bytes + i * size)
                                                         : has_nonfinite_half(bytes + i * size, exponent)))
        i += BLOCK;
    while (i < count && mglu_is_finite(mglu_load_element(array, dtype, i)))
        i++;
    return i;
}

/* Bits of the f32 of one block. Returns 0 where an f16 is subnormal, infinite or NaN. */
static int load_block(const unsigned char *source, mglu_dtype dtype, uint32_t bits[BLOCK])
{
    uint16_t halves[BLOCK], special = 0;

    if (dtype == MGLU_DTYPE_F32) {
        memcpy(bits, source, BLOCK * sizeof *bits);
        return 1;
    }
    memcpy(halves, source, sizeof halves);
    if (dtype == MGLU_DTYPE_BF16) {
        for (size_t i = 0; i < BLOCK; i++)
            bits[i] = (uint32_t)halves[i] << 16;
        return 1;
    }
    for (size_t i = 0; i < BLOCK; i++) {
        uint32_t magnitude = halves[i] & 0x7fffu, is_zero = magnitude == 0;

        special |= (uint16_t)((1 - is_zero) & ((magnitude < 0x400u) | (magnitude >= 0x7c00u)));
        bits[i] = (uint32_t)(halves[i] & 0x8000u) << 16 | ((magnitude << 13) + ((1 - is_zero) * (112u << 23)));
    }
    return !special;
}

/* The reverse, rounded to nearest even. Returns 0 for NaN, and where an f16 would be subnormal or infinite. */
static int store_block(const uint32_t bits[BLOCK], mglu_dtype dtype, unsigned char *target)
{
    uint16_t halves[BLOCK];
    uint32_t special = 0;

    if (dtype == MGLU_DTYPE_F32) {
        memcpy(target, bits, BLOCK * sizeof *bits);
        return 1;
    }
    for (size_t i = 0; i < BLOCK && dtype == MGLU_DTYPE_BF16; i++) {
        special |= (int32_t)(bits[i] & 0x7fffffffu) > 0x7f800000;
        halves[i] = (uint16_t)((bits[i] + 0x7fffu + (bits[i] >> 16 & 1u)) >> 16);
    }
    for (size_t i = 0; i < BLOCK && dtype == MGLU_DTYPE_F16; i++) {
        int32_t magnitude = (int32_t)(bits[i] & 0x7fffffffu);
        uint32_t is_zero = magnitude == 0, rounded = (uint32_t)magnitude - (112u << 23) + 0xfffu;

        special |= (1 - is_zero) & ((magnitude < 0x38800000) | (magnitude >= 0x47800000));
        rounded = (rounded + ((uint32_t)magnitude >> 13 & 1u)) >> 13;
        halves[i] = (uint16_t)((bits[i] >> 16 & 0x8000u) | (rounded & (is_zero - 1)));
    }
    memcpy(target, halves, sizeof halves);
    return !special;
}

static void convert_one_by_one(const unsigned char *source, mglu_dtype source_dtype, unsigned char *target,
                               mglu_dtype target_dtype, size_t count)
{
    for (size_t i = 0; i < count; i++)
        mglu_store_element(target, target_dtype, i, mglu_load_element(source, source_dtype, i));
}

static void convert_blocks(const unsigned char *source, mglu_dtype source_dtype, unsigned char *target,
                           mglu_dtype target_dtype, size_t count)
{
    size_t source_size = mglu_dtype_size(source_dtype), target_size = mglu_dtype_size(target_dtype);
    uint32_t bits[BLOCK];

    for (; count >= BLOCK; count -= BLOCK, source += BLOCK * source_size, target += BLOCK * target_size)
        if (!load_block(source, source_dtype, bits) || !store_block(bits, target_dtype, target))
            convert_one_by_one(source, source_dtype, target, target_dtype, BLOCK);
    convert_one_by_one(source, source_dtype, target, target_dtype, count);
}

size_t mglu_convert_elements(const void *source, mglu_dtype source_dtype, void *target, mglu_dtype target_dtype,
                             size_t count)
{
    if (count == 0)
        return 0;
    if (source_dtype == target_dtype)
        memcpy(target, source, count * mglu_dtype_size(source_dtype));
    else
        convert_blocks(source, source_dtype, target, target_dtype, count);
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
