/* SPDX-License-Identifier: MIT */
#ifndef MGLU_CPU_KERNELS_TRAIN_H
#define MGLU_CPU_KERNELS_TRAIN_H

#include "common/core/mask_format.h"

#include <mglu/types.h>

#include <stddef.h>

/*
 * The interface of the training kernels of one instruction set.
 *
 * All products are sums[m][n] = sum over k of left[m][k] * right[k][n], over packed panels. k is padded with zeros to
 * groups of 32:
 *
 *   left    [panel of panel_rows rows m][group][row][32 elements k]
 *   right   [panel of 32 columns n][group][32 k][32 n] in f32, [16 pairs of k][32 n][2 k] in bf16
 *   sums    f32 [panel_rows][32] for one left and one right panel
 *
 * Panels are made of blocks of 32 x 32 in f32: a part of a matrix, converted and masked, or computed from one. What
 * lies outside the matrix is zero.
 */
enum { MGLU_CPU_TRAIN_BLOCK = MGLU_GROUP_COLUMNS };

typedef float mglu_cpu_train_row[MGLU_CPU_TRAIN_BLOCK];

/* Left rows of a panel, at most. */
enum { MGLU_CPU_MOST_PANEL_ROWS = 32 };

/* Reads `rows` x `columns` elements at any address and fills the rest with zeros. */
typedef void mglu_cpu_train_load_fn(const char *from, size_t stride_bytes, int32_t rows, int32_t columns,
                                    mglu_cpu_train_row *block);

/* Writes `rows` x `columns` elements at any address, rounded to nearest even. */
typedef void mglu_cpu_train_store_fn(const mglu_cpu_train_row *block, char *to, size_t stride_bytes, int32_t rows,
                                     int32_t columns);

/*
 * The gates of one mask for a block: tokens x 32 rows of W.
 *
 *   gate = s + gate_bias    value = t - s + value_bias    y += p g(gate) * value
 *
 * and the gradients, with dy that of y:
 *
 *   dgate = dy p g'(gate) value    dvalue = dy p g(gate)    ds = dgate - dvalue    dt += dvalue
 */
struct mglu_cpu_gates {
    int32_t tokens; /* up to 32 */
    float beta;
    const mglu_cpu_train_row *t, *s;
    const float *gate_bias, *value_bias; /* [32] */
    const float *p;                      /* [tokens]; negative: the token does not use the mask */
    mglu_cpu_train_row *y;               /* of forward */
    /* of backward */
    const mglu_cpu_train_row *dy;
    mglu_cpu_train_row *ds, *dt;
    float *gate_sums, *value_sums; /* [32]: the tokens' dgate and dvalue are added; or both NULL */
    float *dp;                     /* [tokens]: dy g(gate) value is added, summed over the rows; or NULL */
};

typedef void mglu_cpu_gates_fn(const struct mglu_cpu_gates *job);

/*
 * From the sums of the weight gradients to the gradients, for a panel of rows and 32 columns of W:
 *
 *   dweight = sums[0] + sum_i M_i * sums[1 + i]    dlogits_i = W * sums[1 + i]
 */
struct mglu_cpu_train_gradients {
    int32_t rows, columns, n_masks;
    int add;                        /* to what is there */
    const mglu_cpu_train_row *sums; /* of dt, and, sums_gap rows further each, of the ds */
    size_t sums_gap;
    const mglu_cpu_train_row *weight; /* [rows] */
    const uint32_t *masks;            /* of the first row: word i is that of mask i */
    size_t mask_stride;               /* words from row to row */
    float *dweight, *dlogits;         /* of the first element; either may be NULL */
    size_t row_stride, mask_gap;      /* floats from row to row, and of dlogits from mask to mask */
};

/* On blocks in f32; the same for panels of any dtype. */
struct mglu_cpu_train_blocks {
    mglu_cpu_train_load_fn *load[MGLU_DTYPE_COUNT];
    mglu_cpu_train_store_fn *store[MGLU_DTYPE_COUNT];
    /* masked = block where the row's mask word, words[row * stride], has ones, else 0; `rows` words are read. */
    void (*mask)(const mglu_cpu_train_row *block, const uint32_t *words, size_t stride, int32_t rows,
                 mglu_cpu_train_row *masked);
    void (*transpose)(const mglu_cpu_train_row *block, mglu_cpu_train_row *transposed);
    void (*weight_gradients)(const struct mglu_cpu_train_gradients *job);
};

struct mglu_cpu_train_gates {
    mglu_cpu_gates_fn *forward[MGLU_ACTIVATION_COUNT];
    mglu_cpu_gates_fn *backward[MGLU_ACTIVATION_COUNT];
};

/*
 * The products of some left panels with one right panel, of `groups` groups each: sums of panel p, sums_stride rows
 * apart, are set to its products or these are added to them. Products of f32 are added in chains of `chain` groups, and
 * the chains to the sums, so that no product is rounded too often.
 */
struct mglu_cpu_product {
    const char *left, *right;
    size_t left_stride; /* bytes from left panel to left panel */
    int64_t panels, groups, chain;
    int add;
    mglu_cpu_train_row *sums; /* [panels][panel_rows] */
    size_t sums_stride;
    const char *next_right; /* the next right panel, to prefetch; any address */
};

typedef void mglu_cpu_train_multiply_fn(const struct mglu_cpu_product *job);

/* Panels of one dtype and the products of them. */
struct mglu_cpu_train_panels {
    const char *name;
    mglu_dtype dtype;
    int32_t panel_rows;
    int32_t most_groups; /* of one multiplication, so that a right panel stays in the level 1 cache */
    /* Stores 32 k of one row of a left panel. */
    void (*pack_left)(const float *elements, char *left);
    /* Stores a block [k][n] as 32 k of a right panel. */
    void (*pack_right)(const mglu_cpu_train_row *block, char *right);
    mglu_cpu_train_multiply_fn *multiply;
    /* Around the products of a task, which runs in one thread; NULL: nothing to do. */
    void (*begin)(void);
    void (*end)(void);
};

extern const struct mglu_cpu_train_blocks mglu_train_blocks_baseline;
extern const struct mglu_cpu_train_blocks mglu_train_blocks_avx2;
extern const struct mglu_cpu_train_blocks mglu_train_blocks_avx512;
extern const struct mglu_cpu_train_blocks mglu_train_blocks_neon;

extern const struct mglu_cpu_train_gates mglu_train_gates_baseline;
extern const struct mglu_cpu_train_gates mglu_train_gates_avx2;
extern const struct mglu_cpu_train_gates mglu_train_gates_avx512;
extern const struct mglu_cpu_train_gates mglu_train_gates_neon;

extern const struct mglu_cpu_train_panels mglu_train_f32_baseline;
extern const struct mglu_cpu_train_panels mglu_train_f32_avx2;
extern const struct mglu_cpu_train_panels mglu_train_f32_avx512;
extern const struct mglu_cpu_train_panels mglu_train_f32_neon;
extern const struct mglu_cpu_train_panels mglu_train_bf16_avx512bf16;
extern const struct mglu_cpu_train_panels mglu_train_bf16_avx512amx;

void mglu_train_pack_left_avx512bf16(const float *elements, char *left);
void mglu_train_pack_right_avx512bf16(const mglu_cpu_train_row *block, char *right);

#endif
