/* SPDX-License-Identifier: MIT */
#ifndef MGLU_CPU_PANEL_H
#define MGLU_CPU_PANEL_H

/* What tiles.h sums: weights as f32, one column of x in a word. */

#include "kernels.h"
#include "widen.h"

enum { COLUMNS_PER_WORD = 1 };

/* One vector of a row's words of a group, masked. `dtype` is a constant where this is used. */
MGLU_INLINE vec load_words(const struct mglu_cpu_matrix *matrix, int64_t row, int64_t group, int part, uint32_t mask,
                           mglu_dtype dtype)
{
    const struct weight_group weights = group_of(row_from(matrix, row, 0, dtype), group, dtype);

    return vec_select(load_part(&weights, part, dtype), mask, part);
}

/* to + words * x */
MGLU_INLINE vec add_products(vec to, vec words, vec x)
{
    return vec_fma(words, x, to);
}

#endif
