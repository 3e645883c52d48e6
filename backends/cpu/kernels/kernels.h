/* SPDX-License-Identifier: MIT */
#ifndef MGLU_CPU_KERNELS_H
#define MGLU_CPU_KERNELS_H

#include <mglu/types.h>

/*
 * What the kernels of one instruction set give to the rest of the backend. All sets give the same bits but for
 * tiles, mglu_trees_avx2, mglu_sums_bf16_avx512bf16 and int8 kernels, which layers that are to be reproducible do not
 * use. Kernels expect the default floating-point environment.
 *
 * Kernels are named mglu_<operation>_<dtype>_<isa>.
 */

/* Rows that are summed into one set of buffers and then finished together. */
#define MGLU_CPU_BLOCK_ROWS 16

/* A matrix in the packed format, and the masks that go with it. */
struct mglu_cpu_matrix {
    const char *rows;
    size_t row_stride;     /* bytes */
    int64_t groups;        /* of 32 columns in a row */
    const uint32_t *masks; /* an address, even where there are none */
    int32_t n_masks;       /* in `masks`; 0: none */
    const char *scales;    /* of quantised rows: f16 [row][group] */
    size_t scale_stride;   /* bytes */
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
    int32_t tokens; /* of int8 kernels: so many jobs lie in a row, alike but for x, totals and gates */
};

typedef void mglu_cpu_sums_fn(const struct mglu_cpu_sums *job);

/* Longest row that tiles take: beyond, sums in panels would round too often. */
#define MGLU_CPU_TILE_COLUMNS 57344

/*
 * One call of a tile kernel: sums[place][r] = sum of w * x over row first_row + r and token tokens[place], where mask
 * `mask` has a 1 (MGLU_CPU_NO_MASK: everywhere). What is in sums[place] beyond `rows` is undefined. A sum depends on
 * its row, its mask and its x alone.
 */
#define MGLU_CPU_NO_MASK (-1)

struct mglu_cpu_tiles {
    const struct mglu_cpu_matrix *matrix;
    int64_t first_row;
    int32_t rows; /* up to the tile_rows of the kernels; so many are written */
    int32_t mask;
    const char *x; /* of token 0, padded with zeros to whole groups */
    size_t x_stride;
    const int32_t *tokens;
    int32_t count;
    float *sums;
};

typedef void mglu_cpu_tiles_fn(const struct mglu_cpu_tiles *job);

/* Converts to f32 and pads with zeros to whole groups. `source` has any alignment, `target` that of a vector. */
typedef void mglu_cpu_widen_fn(const void *source, float *target, int64_t count);

/* Converts from f32, rounding to nearest even; every NaN becomes the one canonical NaN. `target` has any alignment. */
typedef void mglu_cpu_narrow_fn(const float *source, void *target, int64_t count);

/* g[i] = activation(g[i]). `beta` is for SiLU. */
typedef void mglu_cpu_activate_fn(float *g, int32_t count, float beta);

/*
 * x rounded to 8 bits for accuracy class C, x[j] = scales[j / 32] * quants[j]: the scales of all groups in f32, padded,
 * then the quants in int8, padded. The first scale is NaN where x can't be rounded: it is not finite, or so large or so
 * small that scales might be no normal numbers. Aligned to 64 bytes.
 */
static inline size_t mglu_cpu_quants_offset(int64_t groups)
{
    return (size_t)(groups / 16 + 1) * 64;
}

static inline size_t mglu_cpu_rounded_bytes(int64_t groups)
{
    return mglu_cpu_quants_offset(groups) + (size_t)(groups + 1) / 2 * 64;
}

static inline const char *mglu_cpu_quants(const void *rounded, int64_t groups)
{
    return (const char *)rounded + mglu_cpu_quants_offset(groups);
}

static inline int mglu_cpu_is_rounded(const void *rounded)
{
    const float first = *(const float *)rounded;

    return first == first;
}

typedef void mglu_cpu_round_fn(const float *x, int64_t groups, void *rounded);

/*
 * How many tokens int8 kernels take at once where there are so many: as many as their sums have registers. The sums of
 * a token are the same as without the others.
 */
enum { MGLU_CPU_TOGETHER = 4 };

static inline int32_t mglu_cpu_together(int32_t n_masks)
{
    return n_masks < 2 ? MGLU_CPU_TOGETHER : n_masks < 4 ? 2 : 1;
}

/*
 * Sums of integers. The x of their jobs is rounded. mask_ids may be NULL: all masks of the matrix, in their order; then
 * jobs->tokens may be mglu_cpu_together() besides 1.
 */
struct mglu_cpu_int8 {
    mglu_cpu_round_fn *round_x;
    mglu_cpu_sums_fn *sums[MGLU_DTYPE_Q4_0 + 1];
};

extern const struct mglu_cpu_int8 mglu_int8_avx2;
extern const struct mglu_cpu_int8 mglu_int8_avx512vnni;
extern const struct mglu_cpu_int8 mglu_int8_neon;
extern const struct mglu_cpu_int8 mglu_int8_neondot;

struct mglu_cpu_kernels {
    mglu_cpu_sums_fn *sums[MGLU_DTYPE_Q4_0 + 1];
    mglu_cpu_tiles_fn *tiles[MGLU_DTYPE_Q4_0 + 1];
    int32_t tile_rows; /* a multiple of MGLU_CPU_BLOCK_ROWS */
    mglu_cpu_widen_fn *widen[MGLU_DTYPE_BF16 + 1];
    mglu_cpu_narrow_fn *narrow[MGLU_DTYPE_BF16 + 1];
    mglu_cpu_activate_fn *activate[MGLU_ACTIVATION_IDENTITY + 1];
};

extern const struct mglu_cpu_kernels mglu_kernels_baseline;
extern const struct mglu_cpu_kernels mglu_kernels_avx2;
extern const struct mglu_cpu_kernels mglu_kernels_avx512;
extern const struct mglu_cpu_kernels mglu_kernels_neon;

/* For each dtype, sums of two masks and more in other steps; of four and more, all of a matrix. */
enum { MGLU_CPU_LEAST_TREES = 2, MGLU_CPU_TREES_OF_ALL = 4 };

extern mglu_cpu_sums_fn *const mglu_trees_avx2[MGLU_DTYPE_Q4_0 + 1];

/* Takes x in bf16. Sums in other steps than the other kernels, so its bits are its own. */
mglu_cpu_sums_fn mglu_sums_bf16_avx512bf16;
mglu_cpu_tiles_fn mglu_tiles_bf16_avx512bf16;

#endif
