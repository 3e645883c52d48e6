/* SPDX-License-Identifier: MIT */
#ifndef MGLU_CPU_BYTES_NEONDOT_H
#define MGLU_CPU_BYTES_NEONDOT_H

#include "bytes_neon.h"

MGLU_INLINE vec bytes_dot(bytes w, bytes x)
{
    return vcvtq_f32_s32(vdotq_s32(vdotq_s32(vdupq_n_s32(0), w.val[0], x.val[0]), w.val[1], x.val[1]));
}

#endif
