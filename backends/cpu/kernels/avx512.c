/* SPDX-License-Identifier: MIT */
#if !defined(__AVX512F__) || !defined(__AVX512BW__) || !defined(__AVX512DQ__) || !defined(__AVX512VL__)
#error "build this file with -mavx512f -mavx512bw -mavx512vl -mavx512dq"
#endif

#define KERNEL(name) mglu_##name##_avx512

#include "vec_avx512.h"

#include "set.h"
