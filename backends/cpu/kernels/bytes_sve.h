/* SPDX-License-Identifier: MIT */
#ifndef MGLU_CPU_BYTES_SVE_H
#define MGLU_CPU_BYTES_SVE_H

/* Vectors of bytes in SVE: a group. */

#include "kernels.h"
#include "vec_sve.h"

typedef svint8_t bytes_part __attribute__((arm_sve_vector_bits(__ARM_FEATURE_SVE_BITS)));

/* The ids of masks are read at no cost beside the sums, so no kernels are compiled without ids. */
#define BYTES_WITH_IDS_ONLY

enum { BYTE_GROUPS = 1, BYTE_PARTS = 256 / __ARM_FEATURE_SVE_BITS };

typedef struct bytes {
    bytes_part part[BYTE_PARTS];
} bytes;

MGLU_INLINE bytes bytes_load(const void *from, int groups)
{
    bytes loaded;

    MGLU_UNROLL
    for (int i = 0; i < BYTE_PARTS; i++)
        loaded.part[i] = svld1_s8(svptrue_b8(), (const int8_t *)from + i * 4 * VEC_LANES);
    return loaded;
}

/* The 16 low nibbles of both copies of 16 bytes, then the high ones: with 256 bits in one vector. */
MGLU_INLINE svuint8_t bytes_nibbles(svuint8_t both, int part)
{
    if (BYTE_PARTS == 2)
        return part == 0 ? svand_n_u8_x(svptrue_b8(), both, 15) : svlsr_n_u8_x(svptrue_b8(), both, 4);
    const svuint8_t shifts = svdup_n_u8_z(svcmpge_n_u8(svptrue_b8(), svindex_u8(0, 1), 16), 4);
    return svand_n_u8_x(svptrue_b8(), svlsr_u8_x(svptrue_b8(), both, shifts), 15);
}

MGLU_INLINE bytes bytes_load_nibbles(const void *from, int groups)
{
    const svuint8_t both = svld1rq_u8(svptrue_b8(), from);
    bytes loaded;

    MGLU_UNROLL
    for (int i = 0; i < BYTE_PARTS; i++)
        loaded.part[i] = svsub_n_s8_x(svptrue_b8(), svreinterpret_s8_u8(bytes_nibbles(both, i)), 8);
    return loaded;
}

MGLU_INLINE bytes bytes_select(bytes v, const uint32_t *words, int64_t pitch, int groups)
{
    MGLU_UNROLL
    for (int i = 0; i < BYTE_PARTS; i++)
        v.part[i] = svsel_s8(predicate_load(words, i), v.part[i], svdup_s8(0));
    return v;
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

/* A sum that begins with the bits of a float needs a subtraction, which is faster than a conversion. */
MGLU_INLINE vec bytes_dot(bytes w, bytes x)
{
    svint32_t sum = svdup_s32(MGLU_CPU_INT8_START_BITS);

    MGLU_UNROLL
    for (int i = 0; i < BYTE_PARTS; i++)
        sum = svdot_s32(sum, w.part[i], x.part[i]);
    return svsub_n_f32_x(svptrue_b32(), svreinterpret_f32_s32(sum), MGLU_CPU_INT8_START);
}

MGLU_INLINE vec bytes_broadcast_scales(const float *scales)
{
    return svdup_f32(*scales);
}

#endif
