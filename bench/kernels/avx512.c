/* SPDX-License-Identifier: MIT */
#define VECTOR_BYTES 64
#include "loops.h"

const struct kernels kernels_avx512 = {
    .isa = "avx512",
    .read = {read_blocks, read_side_by_side},
    .multiply_add = multiply_add,
    .flops_per_step = 2 * CHAINS * LANES,
};
