/* SPDX-License-Identifier: MIT */
#ifndef MGLU_CPU_KERNELS_H
#define MGLU_CPU_KERNELS_H

#include <mglu/types.h>

/*
 * What the kernels of one instruction set give to the rest of the backend. All sets give the same bits (but see
 * mglu_sums_bf16_avx512bf16), so the choice of a set decides speed only. Kernels expect the default floating-point
 * environment.
 *
 * Kernels are named mglu_<operation>_<dtype>_<isa>.
 */

/* Rows that are summed into one set of buffers and then finished together. */
#define MGLU_CPU_BLOCK_ROWS 16

/* A matrix in the packed format, and the masks that go with it. */
struct mglu_cpu_matrix {
    const char *rows;
    size_t row_stride; /* bytes */
    int64_t groups;    /* of 32 columns in a row */
    const uint32_t *masks;
    int32_t n_masks; /* in `masks`; 0: none */
};

/*
 * One call of a sums kernel: for rows r = 0..rows-1 from first_row on, totals[r] = sum of w * x over the row, and
 * gates[i][r] = the part of it where mask mask_ids[i] has a 1, for i < n. With n = 0 it is a plain matrix product, and
 * mask_ids and gates may be NULL.
 */
struct mglu_cpu_sums {
    const struct mglu_cpu_matrix *matrix;
    int64_t first_row;
    int32_t rows;
    int32_t n;
    const int32_t *mask_ids;
    const void *x; /* f32, padded with zeros to whole groups */
    float *totals;
    float (*gates)[MGLU_CPU_BLOCK_ROWS];
};

typedef void mglu_cpu_sums_fn(const struct mglu_cpu_sums *job);

/* Converts to f32 and pads with zeros to whole groups. `source` has any alignment, `target` that of a vector. */
typedef void mglu_cpu_widen_fn(const void *source, float *target, int64_t count);

/* Converts from f32, rounding to nearest even; every NaN becomes the one canonical NaN. `target` has any alignment. */
typedef void mglu_cpu_narrow_fn(const float *source, void *target, int64_t count);

/* g[i] = activation(g[i]). `beta` is for SiLU. */
typedef void mglu_cpu_activate_fn(float *g, int32_t count, float beta);

struct mglu_cpu_kernels {
    mglu_cpu_sums_fn *sums[MGLU_DTYPE_BF16 + 1];
    mglu_cpu_widen_fn *widen[MGLU_DTYPE_BF16 + 1];
    mglu_cpu_narrow_fn *narrow[MGLU_DTYPE_BF16 + 1];
    mglu_cpu_activate_fn *activate[MGLU_ACTIVATION_IDENTITY + 1];
};

extern const struct mglu_cpu_kernels mglu_kernels_baseline;
extern const struct mglu_cpu_kernels mglu_kernels_avx2;
extern const struct mglu_cpu_kernels mglu_kernels_avx512;

/* Takes x in bf16. Sums in other steps than the other kernels, so its bits are its own. */
mglu_cpu_sums_fn mglu_sums_bf16_avx512bf16;

#endif
