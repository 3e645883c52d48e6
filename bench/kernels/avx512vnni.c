/* SPDX-License-Identifier: MIT */
#include "loops_vnni.h"

const struct kernels kernels_avx512vnni = {
    .isa = "avx512-vnni",
    .read = {read_blocks, read_side_by_side},
    .units =
        {[UNIT_F32] = {"fma_f32", multiply_add, F32_OPERATIONS}, [UNIT_INT8] = {"dot_int8", dot_int8, INT8_OPERATIONS}},
};
