/* SPDX-License-Identifier: MIT */
#include "common/core/convert.h"
#include "common/io/derived.h"

/* How an F64 is rounded to 24 bits. */
enum rounding {
    TO_NEAREST_EVEN,
    TO_ODD /* what is cut off sets the last bit: a second rounding, to fewer bits, then gives what one would have */
};

enum { F64_FRACTION = 52, F64_BIAS = 1023, F32_FRACTION = 23, F32_BIAS = 127, CUT = F64_FRACTION - F32_FRACTION };

/* The significand without its last `shift` bits, rounded. */
static uint32_t cut(uint64_t significand, int shift, enum rounding rounding)
{
    uint64_t kept, rest, half;

    if (shift > F64_FRACTION + 2) /* below half of the least bit */
        return rounding == TO_ODD && significand != 0;
    kept = significand >> shift;
    rest = significand & (((uint64_t)1 << shift) - 1);
    half = (uint64_t)1 << (shift - 1);
    if (rounding == TO_ODD)
        kept |= rest != 0;
    else
        kept += rest > half || (rest == half && kept & 1);
    return (uint32_t)kept;
}

/* In integers, so that neither the rounding mode nor flushing to zero has an effect. */
static uint32_t f32_of(uint64_t bits, enum rounding rounding)
{
    uint32_t sign = (uint32_t)(bits >> 63) << 31;
    int exponent = (int)(bits >> F64_FRACTION & 0x7ff) - F64_BIAS;
    uint64_t fraction = bits & (((uint64_t)1 << F64_FRACTION) - 1), significand = fraction;

    if (exponent > F64_BIAS) /* infinity or NaN, which stays one */
        return sign | 0x7f800000u | (fraction ? 0x400000u : 0);
    if (exponent > F32_BIAS)
        return sign | 0x7f800000u;
    if (exponent > -F64_BIAS)
        significand |= (uint64_t)1 << F64_FRACTION;
    if (exponent < 1 - F32_BIAS) /* subnormal in f32 */
        return sign | cut(significand, CUT + 1 - F32_BIAS - exponent, rounding);
    /* The leading bit adds one to the exponent, and so does a carry. */
    return sign | (((uint32_t)(exponent + F32_BIAS - 1) << F32_FRACTION) + cut(significand, CUT, rounding));
}

void mglu_io_round_f64(const void *source, void *target, mglu_dtype dtype, size_t count)
{
    enum rounding rounding = dtype == MGLU_DTYPE_F32 ? TO_NEAREST_EVEN : TO_ODD;

    for (size_t i = 0; i < count; i++) {
        uint64_t bits;
        uint32_t word;
        float value;

        memcpy(&bits, (const unsigned char *)source + i * sizeof bits, sizeof bits);
        word = f32_of(bits, rounding);
        memcpy(&value, &word, sizeof value);
        mglu_store_element(target, dtype, i, value);
    }
}
