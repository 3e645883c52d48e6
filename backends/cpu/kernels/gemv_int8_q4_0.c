/* SPDX-License-Identifier: MIT */
#include "int8_kernels.h"

MGLU_INLINE bytes load_quants(const char *weights, int64_t group, int groups)
{
    return bytes_load_nibbles(weights + group * MGLU_Q4_0_GROUP_BYTES, groups);
}

#ifdef BYTES_HALVES
#include "gemv_nibbles.h"
#define SUM_PLAIN sum_nibbles
#endif

#include "gemv_int8.h"

KERNELS_OF_DTYPE(q4_0, Q4_0)
