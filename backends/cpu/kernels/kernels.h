/* SPDX-License-Identifier: MIT */
#ifndef MGLU_CPU_KERNELS_H
#define MGLU_CPU_KERNELS_H

#include <mglu/types.h>

#include <stddef.h>

/*
 * The interface of the kernels of one instruction set. All instruction sets give the same bits, except GEMM,
 * gemv_pairs_avx2.c, gemv_lookup.c, gemv_fused.c, gemv_panels.c, gemv_bf16dot*.c and those of integers, which
 * reproducible layers do not use. Kernels expect the default floating-point environment.
 *
 * Kernels are named mglu_<operation>_<dtype>_<isa>.
 */

/* Rows that are summed into one set of buffers and then finished together. */
#define MGLU_CPU_BLOCK_ROWS 16

/*
 * How a machine reads rows fastest: how many side by side (without masks 1, 2 or 4, with masks 1 or 2), and prefetch
 * distances in bytes of weights; mask words are prefetched as many groups ahead. Results do not depend on it.
 */
struct mglu_cpu_streams {
    int32_t plain_rows, plain_prefetch;
    int32_t masked_rows, masked_prefetch;
};

/* A matrix in the packed format, and the masks that go with it. */
struct mglu_cpu_matrix {
    const char *rows;
    size_t stride_bytes;   /* from row to row */
    int64_t groups;        /* of 32 columns in a row */
    const uint32_t *masks; /* not NULL, even where there are none */
    int32_t n_masks;       /* in `masks`; 0: none */
    const char *scales;    /* of quantised rows: f16 [row][group] */
    size_t scale_stride;   /* bytes */
    struct mglu_cpu_streams streams;
};

/*
 * One call of a GEMV kernel: for rows r = 0..rows-1 from first_row on, totals[r] = sum of w * x over the row, and
 * gates[i][r] = the part of it where mask mask_ids[i] has a 1, for i < n. With n = 0 it is a plain matrix product, and
 * mask_ids and gates may be NULL.
 */
struct mglu_cpu_gemv {
    const struct mglu_cpu_matrix *matrix;
    int64_t first_row;
    int32_t rows;
    int32_t n;
    const int32_t *mask_ids;
    const void *x; /* f32, padded with zeros to whole groups */
    float *totals;
    float (*gates)[MGLU_CPU_BLOCK_ROWS];
    int32_t tokens; /* of kernels for several: number of consecutive jobs, one per token, equal except x and the sums */
};

typedef void mglu_cpu_gemv_fn(const struct mglu_cpu_gemv *job);

/* Longest row that GEMM supports: longer ones would be rounded too often for their error bound. */
#define MGLU_CPU_GEMM_COLUMNS 57344

/*
 * Makes the x of up to block_tokens tokens the block of a list that GEMM takes, [word][token], where a word has 32
 * bits: one column in f32, two in bf16. Those of tokens that are missing may be any finite numbers.
 */
struct mglu_cpu_pack_x {
    const char *x; /* of token 0, padded with zeros to whole groups */
    size_t x_stride;
    const int32_t *tokens; /* of the block */
    int32_t count;
    int64_t words; /* of a token */
    float *packed;
};

typedef void mglu_cpu_pack_x_fn(const struct mglu_cpu_pack_x *job);

/*
 * One call of a GEMM kernel: sums[position][r] = sum of w * x over row first_row + r and the token at that position of
 * a list, where mask `mask` has a 1 (MGLU_CPU_NO_MASK: everywhere). sums[position] is undefined beyond `rows`, and
 * written for whole blocks of tokens. A sum depends only on its row, its mask and its x.
 */
#define MGLU_CPU_NO_MASK (-1)

struct mglu_cpu_gemm {
    const struct mglu_cpu_matrix *matrix;
    int64_t first_row;
    int32_t rows; /* up to the tile_rows of the kernels; that many are written */
    int32_t mask;
    const char *x;   /* packed, the first block of the list */
    size_t x_stride; /* bytes of a block */
    int32_t count;
    float *sums;
    uint32_t *not_finite; /* of kernels of split numbers: bit r is set where a sum of row r is not finite */
};

typedef void mglu_cpu_gemm_fn(const struct mglu_cpu_gemm *job);

/* Converts to f32 and pads with zeros to whole groups. `source` has any alignment, `target` that of a vector. */
typedef void mglu_cpu_widen_fn(const void *source, float *target, int64_t count);

/* Converts from f32, rounding to nearest even; every NaN becomes the one canonical NaN. `target` has any alignment. */
typedef void mglu_cpu_narrow_fn(const float *source, void *target, int64_t count);

/* g[i] = activation(g[i]). `beta` is for SiLU. */
typedef void mglu_cpu_activate_fn(float *g, int32_t count, float beta);

/*
 * A float whose bits, plus an integer of 22 bits and a sign, are those of the float plus that integer. Sums of integers
 * that begin with its bits need no conversion.
 */
#define MGLU_CPU_INT8_START      0x1.8p23f
#define MGLU_CPU_INT8_START_BITS 0x4b400000

/*
 * x quantised to 8 bits for accuracy class C, x[j] = scales[j / 32] * quants[j]: the scales of all groups in f32,
 * padded; for each group MGLU_CPU_INT8_START_BITS less 128 times the sum of its quants, in int32, padded; the quants in
 * int8, padded. The first scale is NaN where x cannot be quantised: it is not finite, or so large or so small that
 * scales might not be normal numbers. Aligned to 64 bytes.
 */
static inline size_t mglu_cpu_starts_offset(int64_t groups)
{
    return (size_t)(groups / 16 + 1) * 64;
}

static inline size_t mglu_cpu_quants_offset(int64_t groups)
{
    return 2 * mglu_cpu_starts_offset(groups);
}

/* Where the data of a group is, in bytes from the start. */
struct mglu_cpu_quantised_group {
    size_t scale, start, quants;
};

static inline struct mglu_cpu_quantised_group mglu_cpu_quantised_group(int64_t groups, int64_t group)
{
    return (struct mglu_cpu_quantised_group){
        .scale = (size_t)group * sizeof(float),
        .start = mglu_cpu_starts_offset(groups) + (size_t)group * sizeof(int32_t),
        .quants = mglu_cpu_quants_offset(groups) + (size_t)group * 32,
    };
}

static inline size_t mglu_cpu_quantised_bytes(int64_t groups)
{
    return mglu_cpu_quants_offset(groups) + (size_t)(groups + 1) / 2 * 64;
}

static inline const char *mglu_cpu_quants(const void *quantised, int64_t groups)
{
    return (const char *)quantised + mglu_cpu_quants_offset(groups);
}

static inline int mglu_cpu_is_quantised(const void *quantised)
{
    const float first = *(const float *)quantised;

    return first == first;
}

typedef void mglu_cpu_quantise_fn(const float *x, int64_t groups, void *quantised);

/*
 * Tokens per call of int8 kernels, if the batch has as many: those whose sums fit in registers. The sums of a token are
 * the same for any number of tokens.
 */
enum { MGLU_CPU_INT8_MOST_TOKENS = 4 };

static inline int32_t mglu_cpu_int8_tokens_per_call(int32_t n_masks)
{
    return n_masks < 2 ? MGLU_CPU_INT8_MOST_TOKENS : n_masks < 4 ? 2 : 1;
}

/*
 * GEMV of integers. The x of its jobs is quantised. jobs->tokens is 1, or mglu_cpu_int8_tokens_per_call() of the number
 * of masks.
 */
struct mglu_cpu_int8 {
    mglu_cpu_quantise_fn *quantise_x;
    mglu_cpu_gemv_fn *gemv[MGLU_DTYPE_COUNT];
};

/*
 * One call of a GEMM kernel of integers, with a list of tokens for the whole rows and one for each of the masks:
 * sums[position][r] = sum of w * x over row first_row + r and token tokens[position], for list 0; for list 1 + i, at
 * the positions first[1 + i] to first[2 + i] - 1, where mask i has a 1. x is quantised. A sum depends only on its row,
 * its mask and its x.
 */
struct mglu_cpu_gemm_int8 {
    const struct mglu_cpu_matrix *matrix;
    int64_t first_row;
    int32_t rows;  /* up to the tile_rows of the kernels; that many are written */
    int32_t lists; /* 1, or one more than masks */
    const int32_t *first;
    const int32_t *tokens;
    const char *x; /* of token 0 */
    size_t x_stride;
    const char *packed; /* x in blocks, for kernels that take it so and do not read `x` */
    size_t block_bytes;
    const int32_t *first_block; /* of each list */
    float *sums;
};

typedef void mglu_cpu_gemm_int8_fn(const struct mglu_cpu_gemm_int8 *job);

struct mglu_cpu_gemm_int8_kernels {
    int32_t tile_rows; /* as struct mglu_cpu_terms takes them */
    mglu_cpu_gemm_int8_fn *gemm[MGLU_DTYPE_COUNT];
    /*
     * The smallest batch for which it is faster than GEMV, in long rows; and at least where GEMV sums two tokens at
     * once, and for q4_0 without masks.
     */
    int32_t least_tokens[MGLU_DTYPE_COUNT], least_after_pairs, least_plain_q4_0;
    int32_t least_columns; /* in shorter rows, GEMM of f32 is faster */
};

/* The same on x that is packed beforehand in blocks of tokens, with the same bits and tile_rows. */
struct mglu_cpu_packed_gemm_int8 {
    mglu_cpu_pack_x_fn *pack_x;
    int32_t block_tokens;
    int32_t group_words; /* of 32 bits, of a token's group */
    mglu_cpu_gemm_int8_fn *gemm[MGLU_DTYPE_COUNT];
    int32_t least_blocks[MGLU_DTYPE_COUNT]; /* fewer are faster by the kernel above */
};

extern const struct mglu_cpu_packed_gemm_int8 mglu_gemm_int8_tokens_avx512vnni;

extern const struct mglu_cpu_gemm_int8_kernels mglu_gemm_int8_avx2, mglu_gemm_int8_avx2_for_avx512;
extern const struct mglu_cpu_gemm_int8_kernels mglu_gemm_int8_avxvnni;
extern const struct mglu_cpu_gemm_int8_kernels mglu_gemm_int8_avx512vnni;
extern const struct mglu_cpu_gemm_int8_kernels mglu_gemm_int8_neondot;
extern const struct mglu_cpu_gemm_int8_kernels mglu_gemm_int8_neoni8mm;

extern const struct mglu_cpu_int8 mglu_int8_avx2;
extern const struct mglu_cpu_int8 mglu_int8_avxvnni;
extern const struct mglu_cpu_int8 mglu_int8_avx512vnni;
extern const struct mglu_cpu_int8 mglu_int8_neon;
extern const struct mglu_cpu_int8 mglu_int8_neondot;
extern const struct mglu_cpu_int8 mglu_int8_sve128;
extern const struct mglu_cpu_int8 mglu_int8_sve256;

extern mglu_cpu_gemv_fn *const mglu_gemv_baseline[MGLU_DTYPE_COUNT];
extern mglu_cpu_gemv_fn *const mglu_gemv_avx2[MGLU_DTYPE_COUNT];
extern mglu_cpu_gemv_fn *const mglu_gemv_avx512[MGLU_DTYPE_COUNT];
extern mglu_cpu_gemv_fn *const mglu_gemv_neon[MGLU_DTYPE_COUNT];
extern mglu_cpu_gemv_fn *const mglu_gemv_sve128[MGLU_DTYPE_COUNT];
extern mglu_cpu_gemv_fn *const mglu_gemv_sve256[MGLU_DTYPE_COUNT];

/*
 * GEMV for several tokens: jobs->tokens jobs, equal except x, totals and gates, of all masks of the matrix in their
 * order. A call computes 1 / k of the tokens of a batch of least_batch or more, rounded up or down, k being the
 * smallest number for which these are no more than most_tokens[n] for n masks. 0: there is no kernel for n masks.
 */
enum { MGLU_CPU_GEMV_MOST_TOKENS = 12 };

struct mglu_cpu_gemv_tokens {
    int32_t least_batch;
    int32_t most_tokens[1 + MGLU_MAX_MASKS];
    mglu_cpu_gemv_fn *gemv[MGLU_DTYPE_COUNT];
};

extern const struct mglu_cpu_gemv_tokens mglu_gemv_tokens_avx512; /* with the bits of GEMV for one */
extern const struct mglu_cpu_gemv_tokens mglu_gemv_fused_avx512;  /* with other bits */
extern const struct mglu_cpu_gemv_tokens mglu_gemv_panels_avx2;   /* with other bits */

enum { MGLU_CPU_GEMM_MOST_ROWS = 32 };

struct mglu_cpu_gemm_kernels {
    int32_t tile_rows; /* rows of one call: a multiple of MGLU_CPU_BLOCK_ROWS, up to MGLU_CPU_GEMM_MOST_ROWS */
    int32_t block_tokens;
    mglu_cpu_pack_x_fn *pack_x;
    mglu_cpu_gemm_fn *gemm[MGLU_DTYPE_COUNT];
};

extern const struct mglu_cpu_gemm_kernels mglu_gemm_baseline;
extern const struct mglu_cpu_gemm_kernels mglu_gemm_avx2;
extern const struct mglu_cpu_gemm_kernels mglu_gemm_avx512;
extern const struct mglu_cpu_gemm_kernels mglu_gemm_neon;

/*
 * The terms of the sum over masks, for one mask and the tokens of its list, after GEMM: gates[t][r] becomes
 * p[t] * g(gate + gate_bias[r]) * (value + value_bias[r]). The value is others[tokens[t]][r] - gate, or without tokens
 * others[t][r].
 */
struct mglu_cpu_terms {
    float *gates;
    const float *others;
    const int32_t *tokens;
    const float *p;
    const float *gate_bias, *value_bias;
    int32_t count;
    int32_t rows; /* of all these: the tile_rows of `gemm`, or MGLU_CPU_BLOCK_ROWS */
    mglu_cpu_activate_fn *activate;
    float beta;
};

typedef void mglu_cpu_terms_fn(const struct mglu_cpu_terms *job);

/* The dtypes of x and y, and all activations. */
struct mglu_cpu_elementwise {
    mglu_cpu_terms_fn *terms;
    mglu_cpu_widen_fn *widen[MGLU_DTYPE_COUNT];
    mglu_cpu_narrow_fn *narrow[MGLU_DTYPE_COUNT];
    mglu_cpu_activate_fn *activate[MGLU_ACTIVATION_COUNT];
};

extern const struct mglu_cpu_elementwise mglu_elementwise_baseline;
extern const struct mglu_cpu_elementwise mglu_elementwise_avx2;
extern const struct mglu_cpu_elementwise mglu_elementwise_avx512;
extern const struct mglu_cpu_elementwise mglu_elementwise_neon;

/* Per dtype, GEMV with another summation order, for two masks and more; four and more must be all of the matrix. */
enum { MGLU_CPU_LEAST_PAIRS = 2, MGLU_CPU_PAIRS_OF_ALL = 4 };

extern mglu_cpu_gemv_fn *const mglu_gemv_pairs_avx2[MGLU_DTYPE_COUNT];

/* The same for this many masks and more, which must be all of the matrix. */
enum { MGLU_CPU_LEAST_LOOKUP = 12 };

extern mglu_cpu_gemv_fn *const mglu_gemv_lookup_avx512[MGLU_DTYPE_COUNT];

/* These need x in bf16. They have a different summation order, and so different bits. */
mglu_cpu_gemv_fn mglu_gemv_bf16_avx512bf16;
mglu_cpu_gemv_fn mglu_gemv_bf16_sve128;
mglu_cpu_gemv_fn mglu_gemv_bf16_sve256;
mglu_cpu_gemm_fn mglu_gemm_bf16_avx512bf16;

/* The same by tiles, for rows of at least least_groups groups. */
struct mglu_cpu_tiles {
    mglu_cpu_gemm_fn *gemm;
    int64_t least_groups;
};

extern const struct mglu_cpu_tiles mglu_gemm_tiles_avx512amx;

/*
 * GEMM by tiles on numbers split into parts of bf16, for rows of least_groups to most_groups groups: by the number of
 * parts of x, less 1. x is f32, and is split as it is packed. Sums are not finite where a weight or an x is not, or
 * rounds to infinity in bf16.
 */
enum { MGLU_CPU_MOST_PARTS = 3 };

struct mglu_cpu_split_tiles {
    int64_t least_groups, most_groups;
    mglu_cpu_pack_x_fn *pack_x[MGLU_CPU_MOST_PARTS];
    mglu_cpu_gemm_fn *gemm[MGLU_DTYPE_COUNT][MGLU_CPU_MOST_PARTS]; /* NULL: none for the dtype */
};

extern const struct mglu_cpu_split_tiles mglu_gemm_split_tiles_avx512amx;

#endif
