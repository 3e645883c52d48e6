/* SPDX-License-Identifier: MIT */
#include "int8_kernels.h"

#ifdef BYTES_HALVES
#include "gemv_nibbles.h"
#else

MGLU_INLINE bytes load_quants(const char *weights, int64_t group, int groups)
{
    return bytes_load_nibbles(weights + group * MGLU_Q4_0_GROUP_BYTES, groups);
}

#include "gemv_int8.h"
#endif

KERNELS_OF_DTYPE(q4_0, Q4_0)
