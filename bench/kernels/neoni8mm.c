/* SPDX-License-Identifier: MIT */
#define VECTOR_BYTES 16
#include "loops.h"

#include <arm_neon.h>

/** A product of two rows of eight bytes and two columns: twice as many as a dot product of fours. */
static inline vector_i32 add_products(vector_i32 sums, vector_i32 x, vector_i32 y)
{
    return (vector_i32)vmmlaq_s32((int32x4_t)sums, (int8x16_t)x, (int8x16_t)y);
}

#include "loops_int8.h"

const struct kernels kernels_neoni8mm = {
    .isa = "neon-i8mm",
    .read = {read_blocks, read_side_by_side},
    .units = {[UNIT_F32] = {"fma_f32", multiply_add, F32_OPERATIONS},
              [UNIT_INT8] = {"mmla_int8", dot_int8, 2 * INT8_OPERATIONS}},
};
