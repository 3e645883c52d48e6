/* SPDX-License-Identifier: MIT */
#if !defined(__AVX2__) || !defined(__F16C__)
#error "build this file with -mavx2 -mfma -mf16c"
#endif

#define KERNEL(name) mglu_##name##_avx2

#include "vec_avx2.h"

#include "set.h"
