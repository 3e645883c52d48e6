/* SPDX-License-Identifier: MIT */
#define VECTOR_BYTES 16
#include "loops.h"

const struct kernels kernels_baseline = {
    .isa = "baseline",
    .read = {read_blocks, read_side_by_side},
    .units = {[UNIT_F32] = {"fma_f32", multiply_add, F32_OPERATIONS}},
};
