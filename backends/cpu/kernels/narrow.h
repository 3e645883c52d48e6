/* SPDX-License-Identifier: MIT */
#ifndef MGLU_CPU_NARROW_H
#define MGLU_CPU_NARROW_H

/*
 * Conversions from f32 for loops that the compiler vectorises: those of common/core/half.h without branches. All NaNs
 * become the same one, because the compiler determines which of two NaNs an addition returns.
 */

#include "inline.h"

#include "common/core/half.h"

MGLU_INLINE uint32_t narrow_to_f32(float value)
{
    uint32_t bits = mglu_f32_bits(value);
    return (bits & 0x7fffffffu) > 0x7f800000u ? 0x7fc00000u : bits;
}

MGLU_INLINE uint16_t narrow_to_f16(float value)
{
    uint32_t bits = mglu_f32_bits(value);
    uint32_t sign = (bits >> 16) & 0x8000u;
    uint32_t magnitude = bits & 0x7fffffffu;
    /* A carry correctly makes it infinite. */
    uint32_t half = (magnitude - (112u << 23) + 0xfffu + ((magnitude >> 13) & 1u)) >> 13;
    /* The last bit of 0.5 has the value of the last bit of a subnormal half. */
    uint32_t subnormal = mglu_f32_bits(mglu_f32_from_bits(magnitude) + 0.5f) - mglu_f32_bits(0.5f);

    half = magnitude < 0x38800000u ? subnormal : half;
    half = magnitude >= 0x47800000u ? 0x7c00u : half;
    half |= sign;
    return (uint16_t)(magnitude > 0x7f800000u ? 0x7e00u : half);
}

MGLU_INLINE uint16_t narrow_to_bf16(float value)
{
    uint32_t bits = mglu_f32_bits(value);
    uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    return (uint16_t)((bits & 0x7fffffffu) > 0x7f800000u ? 0x7fc0u : rounded);
}

MGLU_INLINE void store_u32(void *target, int64_t index, uint32_t value)
{
    memcpy((char *)target + (size_t)index * sizeof value, &value, sizeof value);
}

MGLU_INLINE void store_u16(void *target, int64_t index, uint16_t value)
{
    memcpy((char *)target + (size_t)index * sizeof value, &value, sizeof value);
}

#endif
