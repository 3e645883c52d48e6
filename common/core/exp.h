/* SPDX-License-Identifier: MIT */
#ifndef MGLU_CORE_EXP_H
#define MGLU_CORE_EXP_H

#include "common/core/half.h"
#include "common/core/inline.h"

/*
 * e^(high + low) for high <= 0 and a `low` that is a small correction of it: within 1.5 ulp, 0 where the result would
 * be subnormal, NaN for NaN. Branch-free, with additions and multiplications only: the bits are the same with every
 * compiler, and loops over it are vectorised.
 *
 * e^x = 2^k e^r with |r| <= ln(2)/2; k * LN2_HIGH is exact. The polynomial is a minimax fit (Lawson's iteration on
 * Chebyshev nodes, in double) of (e^r - 1 - r) / r^2, its error weighted by r^2 / e^r: 0.05 * 2^-24.
 */
MGLU_INLINE float mglu_exp_nonpositive(float high, float low)
{
    const float least = -87.33654f; /* ln(2^-126) */
    const float log2_e = 0x1.715476p+0f, ln2_high = 0x1.63p-1f, ln2_low = -0x1.bd0106p-13f;
    const float round_to_integer = 0x1.8p+23f; /* adding it leaves an integer in the low bits */

    float x = high < least ? least : high;
    float shifted = x * log2_e + round_to_integer;
    float k = shifted - round_to_integer;
    float r = (x - k * ln2_high) - k * ln2_low + low;

    float p = 0x1.6a23cep-10f;
    p = p * r + 0x1.123a2p-7f;
    p = p * r + 0x1.5558f2p-5f;
    p = p * r + 0x1.555492p-3f;
    p = p * r + 0x1.fffffcp-2f;
    p = p * (r * r) + r + 1.0f;

    /* The shift drops all of round_to_integer's bits and leaves 2^k. */
    float scale = mglu_f32_from_bits((mglu_f32_bits(shifted) + 127) << 23);
    return high < least ? 0.0f : p * scale;
}

#endif
