/* SPDX-License-Identifier: MIT */
#ifndef __ARM_FEATURE_DOTPROD
#error "build this file with -march=armv8.2-a+dotprod"
#endif

#define KERNEL(name) mglu_##name##_neondot

#include "bytes_neon.h"

MGLU_INLINE vec bytes_dot(bytes w, bytes x)
{
    return vcvtq_f32_s32(vdotq_s32(vdotq_s32(vdupq_n_s32(0), w.val[0], x.val[0]), w.val[1], x.val[1]));
}

#include "int8.h"
