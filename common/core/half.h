/* SPDX-License-Identifier: MIT */
#ifndef MGLU_CORE_HALF_H
#define MGLU_CORE_HALF_H

/*
 * Scalar f16 and bf16 conversions in integer arithmetic, independent of the caller's rounding mode, flush-to-zero and
 * the compiler's support for _Float16. Round to nearest even; NaN payloads keep their upper bits.
 *
 * For C and OpenCL C (embedded there at build time).
 */

#if defined(__OPENCL_C_VERSION__)

#define mglu_f32_bits(value)     as_uint(value)
#define mglu_f32_from_bits(bits) as_float(bits)

#else

#include "common/core/ieee.h"

#include <stdint.h>
#include <string.h>

static inline uint32_t mglu_f32_bits(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static inline float mglu_f32_from_bits(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

#endif

/* Bits of the f32 that equals a half. */
static inline uint32_t mglu_f16_to_f32_bits(uint16_t f16)
{
    uint32_t sign = (uint32_t)(f16 & 0x8000u) << 16;
    uint32_t exponent = (f16 >> 10) & 0x1fu;
    uint32_t mantissa = f16 & 0x3ffu;

    if (exponent == 0x1f)
        return sign | 0x7f800000u | mantissa << 13;
    if (exponent != 0)
        return sign | (exponent + 112) << 23 | mantissa << 13;
    if (mantissa == 0)
        return sign;
    exponent = 113;
    while (!(mantissa & 0x400u)) {
        mantissa <<= 1;
        exponent--;
    }
    return sign | exponent << 23 | (mantissa & 0x3ffu) << 13;
}

static inline float mglu_f16_to_f32(uint16_t f16)
{
    return mglu_f32_from_bits(mglu_f16_to_f32_bits(f16));
}

/* Shifts right, rounding to nearest even. */
static inline uint32_t mglu_shift_rne(uint32_t value, uint32_t shift)
{
    uint32_t middle = 1u << (shift - 1);
    return (value + middle - 1 + ((value >> shift) & 1u)) >> shift;
}

static inline uint16_t mglu_f32_to_f16(float value)
{
    uint32_t bits = mglu_f32_bits(value);
    uint32_t sign = (bits >> 16) & 0x8000u;
    uint32_t magnitude = bits & 0x7fffffffu;

    if (magnitude > 0x7f800000u)
        return (uint16_t)(sign | 0x7e00u | ((magnitude >> 13) & 0x3ffu));
    if (magnitude >= 0x47800000u) /* 2^16 and above */
        return (uint16_t)(sign | 0x7c00u);
    if (magnitude >= 0x38800000u) /* a normal half; a carry correctly makes it infinite */
        return (uint16_t)(sign | mglu_shift_rne(magnitude - (112u << 23), 13));
    if (magnitude < 0x33000000u) /* below half of the smallest subnormal */
        return (uint16_t)sign;
    return (uint16_t)(sign | mglu_shift_rne((magnitude & 0x7fffffu) | 0x800000u, 126 - (magnitude >> 23)));
}

static inline float mglu_bf16_to_f32(uint16_t bf16)
{
    return mglu_f32_from_bits((uint32_t)bf16 << 16);
}

static inline uint16_t mglu_f32_to_bf16(float value)
{
    uint32_t bits = mglu_f32_bits(value);

    if ((bits & 0x7fffffffu) > 0x7f800000u)
        return (uint16_t)(bits >> 16 | 0x40u);
    return (uint16_t)(((uint64_t)bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

#endif
