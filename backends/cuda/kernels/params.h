/* SPDX-License-Identifier: MIT */
#ifndef MGLU_CUDA_PARAMS_H
#define MGLU_CUDA_PARAMS_H

/*
 * The interface between the host and the kernels: the set of kernels, their names, arguments and launch geometry. Plain
 * C. Matrices are stored as in tile_layout.h.
 */

#include "backends/cuda/kernels/tile_layout.h"

#include <stddef.h>

/* ---- Variants ------------------------------------------------------------------------------------------------- */

/* How products are summed. A thread block computes one strip; the strip's blocks are distributed over its warps. */
enum mglu_cuda_engine {
    MGLU_CUDA_SIMT,  /* f32 adds, one token at a time; accuracy class A */
    MGLU_CUDA_MMA8,  /* tensor cores, 8 tokens at a time; class B; weights and x both f16, or both bf16; no routing */
    MGLU_CUDA_MMA16, /* the same, 16 tokens */
    MGLU_CUDA_RING,  /* the sums of SIMT on weights that are copied to shared memory ahead; sm_90 and sm_120 only */
    MGLU_CUDA_ENGINES
};

/* What a kernel sums for each row. A masked form supports any number of terms up to its own. */
enum mglu_cuda_form {
    MGLU_CUDA_SUM, /* the row itself: the down-projection. SIMT only */
    MGLU_CUDA_GLU, /* the rows of two matrices */
    MGLU_CUDA_MASKS_1,
    MGLU_CUDA_MASKS_2,
    MGLU_CUDA_MASKS_4,
    MGLU_CUDA_MASKS_8,
    MGLU_CUDA_MASKS_16,
    MGLU_CUDA_FORMS
};

/* The dtype of a kernel's x. */
enum mglu_cuda_x {
    MGLU_CUDA_X_F32,
    MGLU_CUDA_X_HALF, /* f16 or bf16, known at run time */
    MGLU_CUDA_X_SAME  /* f16 or bf16 as the weights */
};

/* One compiled kernel. */
struct mglu_cuda_variant {
    enum mglu_cuda_engine engine;
    mglu_dtype weights;
    enum mglu_cuda_x x;
    enum mglu_cuda_form form;
};

/* The smallest masked form for 1..16 terms: n_m, or top_k with routing. */
static inline enum mglu_cuda_form mglu_cuda_form_of_terms(int32_t terms)
{
    return terms <= 1   ? MGLU_CUDA_MASKS_1
           : terms <= 2 ? MGLU_CUDA_MASKS_2
           : terms <= 4 ? MGLU_CUDA_MASKS_4
           : terms <= 8 ? MGLU_CUDA_MASKS_8
                        : MGLU_CUDA_MASKS_16;
}

static inline int mglu_cuda_is_half(mglu_dtype dtype)
{
    return dtype == MGLU_DTYPE_F16 || dtype == MGLU_DTYPE_BF16;
}

/* Class B; the other engines are of class A. */
static inline int mglu_cuda_has_tensor_cores(enum mglu_cuda_engine engine)
{
    return engine == MGLU_CUDA_MMA8 || engine == MGLU_CUDA_MMA16;
}

static inline enum mglu_cuda_x mglu_cuda_x_of(mglu_dtype weights, mglu_dtype x)
{
    return !mglu_cuda_is_half(x) ? MGLU_CUDA_X_F32 : x == weights ? MGLU_CUDA_X_SAME : MGLU_CUDA_X_HALF;
}

/*
 * Whether such a kernel is compiled. The down-projection has x in f32. The sums of 16 masks and 16 tokens, for two
 * rows, do not fit into the registers of a thread.
 */
static inline int mglu_cuda_variant_exists(struct mglu_cuda_variant variant)
{
    if (variant.form == MGLU_CUDA_SUM)
        return variant.engine == MGLU_CUDA_SIMT && variant.x == MGLU_CUDA_X_F32;
    if (variant.engine == MGLU_CUDA_MMA16 && variant.form == MGLU_CUDA_MASKS_16)
        return 0;
    if (mglu_cuda_has_tensor_cores(variant.engine) && variant.x != MGLU_CUDA_X_SAME)
        return 0;
    return variant.x != MGLU_CUDA_X_SAME || mglu_cuda_is_half(variant.weights);
}

/*
 * Names. A variant's symbol is mglu_<engine>_<weights>_<x>_<form>, as mglu_simt_f16_xf32_sum,
 * mglu_simt_q8_0_xhalf_m2 or mglu_mma8_bf16_xbf16_m4, in the module (fatbin) <simt|mma|ring>_<weights>. The module
 * `routing` has mglu_route.
 */
static inline const char *mglu_cuda_engine_name(enum mglu_cuda_engine engine)
{
    static const char *const names[] = {"simt", "mma8", "mma16", "ring"};
    return names[engine];
}

static inline const char *mglu_cuda_x_name(struct mglu_cuda_variant variant)
{
    if (variant.x == MGLU_CUDA_X_SAME)
        return variant.weights == MGLU_DTYPE_F16 ? "f16" : "bf16";
    return variant.x == MGLU_CUDA_X_F32 ? "f32" : "half";
}

static inline const char *mglu_cuda_form_name(enum mglu_cuda_form form)
{
    static const char *const names[] = {"sum", "glu", "m1", "m2", "m4", "m8", "m16"};
    return names[form];
}

enum mglu_cuda_module {
    MGLU_CUDA_MODULE_SIMT_F32, /* + dtype: modules of the SIMT kernels are in the order of mglu_dtype */
    MGLU_CUDA_MODULE_SIMT_F16,
    MGLU_CUDA_MODULE_SIMT_BF16,
    MGLU_CUDA_MODULE_SIMT_Q8_0,
    MGLU_CUDA_MODULE_SIMT_Q4_0,
    MGLU_CUDA_MODULE_MMA_F16,
    MGLU_CUDA_MODULE_MMA_BF16,
    MGLU_CUDA_MODULE_RING_F32, /* + dtype too */
    MGLU_CUDA_MODULE_RING_F16,
    MGLU_CUDA_MODULE_RING_BF16,
    MGLU_CUDA_MODULE_RING_Q8_0,
    MGLU_CUDA_MODULE_RING_Q4_0,
    MGLU_CUDA_MODULE_ROUTING,
    MGLU_CUDA_MODULES
};

static inline enum mglu_cuda_module mglu_cuda_module_of(struct mglu_cuda_variant variant)
{
    if (variant.engine == MGLU_CUDA_SIMT)
        return (enum mglu_cuda_module)(MGLU_CUDA_MODULE_SIMT_F32 + (int)variant.weights);
    if (variant.engine == MGLU_CUDA_RING)
        return (enum mglu_cuda_module)(MGLU_CUDA_MODULE_RING_F32 + (int)variant.weights);
    return variant.weights == MGLU_DTYPE_F16 ? MGLU_CUDA_MODULE_MMA_F16 : MGLU_CUDA_MODULE_MMA_BF16;
}

#define MGLU_CUDA_ROUTE_SYMBOL "mglu_route"

/* ---- Arguments ------------------------------------------------------------------------------------------------ */

/*
 * The one argument of every projection kernel, passed by value. Addresses are device addresses with every byte offset
 * already added; strides are elements. The down-projection is a second launch with x = z (f32), weights = W_o,
 * gate_bias = its bias and form SUM.
 */
struct mglu_cuda_projection {
    uint64_t x, y;
    uint64_t residual;               /* 0: none. May be y */
    uint64_t weights;                /* 64-byte aligned */
    uint64_t gate_bias, value_bias;  /* f32 [n_masks or 1][rows]; 0: none */
    uint64_t mask_ids, mask_weights; /* int32 and f32 [batch][terms], as mglu_route writes them; 0: all masks, p = 1 */
    int64_t x_stride, y_stride, residual_stride;
    int64_t batch;
    uint32_t rows, columns;
    uint32_t block_bytes; /* mglu_tile_block_bytes() */
    int32_t terms;        /* summed per token: n_m or top_k; 1 for GLU and SUM */
    int32_t x_dtype, y_dtype;
    int32_t activation;  /* ignored for SUM */
    float silu_beta;     /* as in the layer's plan: 1 unless set */
    uint32_t ring_depth; /* of mglu_cuda_ring_plan(), for the ring kernels */
};

/* The argument of mglu_route: one token per thread block. Writes mask_ids and mask_weights. */
struct mglu_cuda_routing {
    uint64_t x;
    uint64_t router;                   /* f32 [n_masks][router_stride]; ignored when ids are given */
    uint64_t given_ids, given_weights; /* the caller's, 4-byte aligned; 0: the router selects */
    uint64_t mask_ids, mask_weights;   /* out: int32 and f32 [batch][top_k] */
    uint64_t bad_routing;              /* out: a 32-bit word that becomes 1 when an id is out of range; never cleared */
    int64_t x_stride, ids_stride, weights_stride, router_stride;
    int64_t batch;
    uint32_t columns;
    int32_t n_masks, top_k;
    int32_t x_dtype;
};

/* ---- Launch geometry ------------------------------------------------------------------------------------------ */

/*
 * The x dimension of the grid is groups of tokens, the y dimension strips. Blocks start in the order of x, so that all
 * groups read a strip at about the same time and its weights are read from memory once and then from L2. A CUDA grid
 * has at most 65535 blocks in y; kernels loop with stride gridDim.y, so that any number of rows is one launch. Every
 * kernel waits for the previous launch (griddepcontrol) before it reads or writes anything but weights: where the
 * device supports it (programmatic dependent launch), the launches of one forward may overlap, and the first may
 * overlap earlier work.
 */
struct mglu_cuda_launch {
    uint32_t grid_x, grid_y, block_x;
    uint32_t shared_bytes; /* dynamic; at most 48 KiB, so that no kernel but those of the ring needs to opt in */
};

enum {
    MGLU_CUDA_MAX_GRID_Y = 65535,
    MGLU_CUDA_ROUTE_THREADS = 128,
    MGLU_CUDA_MAX_WARPS = 16,
    MGLU_CUDA_MAX_WARPS_16_MASKS = 8,              /* their threads need more registers */
    MGLU_CUDA_RESIDENT_WARPS = 24,                 /* per multiprocessor; see resident.cuh */
    MGLU_CUDA_RESIDENT_WARPS_8_MASKS = 16,         /* and more masks */
    MGLU_CUDA_STAGE_FLOATS = 2 * MGLU_TILE_COLUMNS /* per warp of the SIMT kernels, to distribute x */
};

/* Sums that a kernel has for each row and token: the row's, and each mask's. */
static inline uint32_t mglu_cuda_sums(enum mglu_cuda_form form)
{
    static const uint32_t sums[] = {1, 2, 2, 3, 5, 9, 17};
    return sums[form];
}

/* Tokens that a thread block computes at a time. */
static inline uint32_t mglu_cuda_tokens(enum mglu_cuda_engine engine)
{
    return engine == MGLU_CUDA_MMA16 ? 16 : engine == MGLU_CUDA_MMA8 ? 8 : 1;
}

/*
 * Warps that share a strip: 4, 8 or 16 for SIMT and the ring, 4 for tensor cores; 16 masks take no more than 8. A
 * function of the shape, the variant and the device only, never of the batch, because it determines the summation
 * order. More columns get more warps, so that chains of additions stay short; and so do few strips, as long as all of
 * them are resident, so that enough loads are in flight.
 */
static inline uint32_t mglu_cuda_warps(struct mglu_cuda_variant variant, uint32_t rows, uint32_t columns,
                                       uint32_t multiprocessors)
{
    uint32_t warps = columns < 8192 ? 4 : columns < 32768 ? 8 : 16;
    uint32_t resident = multiprocessors * (variant.form < MGLU_CUDA_MASKS_8 ? MGLU_CUDA_RESIDENT_WARPS
                                                                            : MGLU_CUDA_RESIDENT_WARPS_8_MASKS);

    if (mglu_cuda_has_tensor_cores(variant.engine))
        return 4;
    while (warps < MGLU_CUDA_MAX_WARPS && warps < mglu_tile_blocks(columns) &&
           (uint64_t)mglu_tile_strips(rows) * warps * 2 <= resident)
        warps *= 2;
    return warps;
}

static inline uint32_t mglu_cuda_capped_warps(enum mglu_cuda_form form, uint32_t warps)
{
    const uint32_t most = form == MGLU_CUDA_MASKS_16 ? MGLU_CUDA_MAX_WARPS_16_MASKS : MGLU_CUDA_MAX_WARPS;

    return warps < most ? warps : most;
}

/* Of all engines but the ring, whose launch is in ring_plan.h. */
static inline struct mglu_cuda_launch mglu_cuda_projection_launch(struct mglu_cuda_variant variant, uint32_t warps,
                                                                  uint32_t rows, int64_t batch)
{
    uint32_t tokens = mglu_cuda_tokens(variant.engine), columns = tokens == 1 ? 1 : 8;
    uint32_t strips = mglu_tile_strips(rows);
    struct mglu_cuda_launch launch;

    warps = mglu_cuda_capped_warps(variant.form, warps);
    launch.grid_x = (uint32_t)((batch + tokens - 1) / tokens);
    launch.grid_y = strips < MGLU_CUDA_MAX_GRID_Y ? strips : (uint32_t)MGLU_CUDA_MAX_GRID_Y;
    launch.block_x = warps * 32;
    launch.shared_bytes = warps * (uint32_t)sizeof(float) *
                          (mglu_cuda_sums(variant.form) * MGLU_TILE_ROWS * columns +
                           (variant.engine == MGLU_CUDA_SIMT ? (uint32_t)MGLU_CUDA_STAGE_FLOATS : 0));
    return launch;
}

static inline struct mglu_cuda_launch mglu_cuda_route_launch(int64_t batch)
{
    struct mglu_cuda_launch launch;

    launch.grid_x = (uint32_t)batch;
    launch.grid_y = 1;
    launch.block_x = MGLU_CUDA_ROUTE_THREADS;
    launch.shared_bytes = MGLU_MAX_MASKS * MGLU_CUDA_ROUTE_THREADS / 32 * (uint32_t)sizeof(float);
    return launch;
}

#endif
