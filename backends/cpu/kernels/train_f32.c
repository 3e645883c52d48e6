/* SPDX-License-Identifier: MIT */
#include "vec.h"

/* Panels of training in f32. */

enum { GROUP_WORDS = 32 };

MGLU_INLINE vec add_products(vec sums, vec right, vec left)
{
    return vec_fma(right, left, sums);
}

#include "train_product.h"

#include <string.h>

static void pack_left(const float *elements, char *left)
{
    memcpy(left, elements, sizeof(mglu_cpu_train_row));
}

static void pack_right(const mglu_cpu_train_row *block, char *right)
{
    memcpy(right, block, MGLU_CPU_TRAIN_BLOCK * sizeof *block);
}

const struct mglu_cpu_train_panels KERNEL(train_f32) = {
    .name = "f32",
    .dtype = MGLU_DTYPE_F32,
    .panel_rows = TILE_TOKENS,
    .most_groups = 8,
    .pack_left = pack_left,
    .pack_right = pack_right,
    .multiply = multiply,
};
