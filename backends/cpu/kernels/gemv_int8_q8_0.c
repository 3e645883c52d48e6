/* SPDX-License-Identifier: MIT */
#include "int8_kernels.h"

MGLU_INLINE bytes load_quants(const char *weights, int64_t group, int groups)
{
    return bytes_load(weights + group * MGLU_GROUP_COLUMNS, groups);
}

#include "gemv_int8.h"

KERNELS_OF_DTYPE(q8_0, Q8_0)
