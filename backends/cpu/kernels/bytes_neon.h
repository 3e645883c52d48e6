/* SPDX-License-Identifier: MIT */
#ifndef MGLU_CPU_BYTES_NEON_H
#define MGLU_CPU_BYTES_NEON_H

/* Vectors of bytes in NEON; bytes_dot() is in bytes_neonmull.h and bytes_neondot.h. */

#include "vec_neon.h"

typedef int8x16x2_t bytes;

enum { BYTE_GROUPS = 1 };

MGLU_INLINE bytes bytes_load(const void *from, int groups)
{
    return (bytes){{vreinterpretq_s8_u8(vld1q_u8(from)), vreinterpretq_s8_u8(vld1q_u8((const uint8_t *)from + 16))}};
}

MGLU_INLINE bytes bytes_load_nibbles(const void *from, int groups)
{
    const uint8x16_t both = vld1q_u8(from);
    const int8x16_t eight = vdupq_n_s8(8);

    return (bytes){{vsubq_s8(vreinterpretq_s8_u8(vandq_u8(both, vdupq_n_u8(15))), eight),
                    vsubq_s8(vreinterpretq_s8_u8(vshrq_n_u8(both, 4)), eight)}};
}

/* Broadcasts two bytes of a word to eight lanes each, each of which extracts its bit. */
MGLU_INLINE int8x16_t bytes_select_half(int8x16_t v, uint32_t word)
{
    const uint8x16_t bit_of_lane = {1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128};
    const uint8x16_t of_lane = vcombine_u8(vdup_n_u8((uint8_t)word), vdup_n_u8((uint8_t)(word >> 8)));

    return vandq_s8(v, vreinterpretq_s8_u8(vtstq_u8(of_lane, bit_of_lane)));
}

MGLU_INLINE bytes bytes_select(bytes v, const uint32_t *words, int64_t pitch, int groups)
{
    return (bytes){{bytes_select_half(v.val[0], *words), bytes_select_half(v.val[1], *words >> 16)}};
}

/* Products of signed bytes need no magnitudes. */
MGLU_INLINE bytes bytes_magnitude(bytes w)
{
    return w;
}

MGLU_INLINE bytes bytes_signed(bytes x, bytes w)
{
    return x;
}

MGLU_INLINE vec bytes_broadcast_scales(const float *scales)
{
    return vec_broadcast(scales);
}

#endif
