/* SPDX-License-Identifier: MIT */
#ifndef MGLU_CPU_SET_H
#define MGLU_CPU_SET_H

/* The set of kernels of one instruction set, from the vec_<isa>.h and the KERNEL() of the file that includes this. */

#include "narrow.h"
#include "sums.h"
#include "widen.h"

#include "panel.h"
#include "tiles.h"

#include "common/core/activate.h"

static void KERNEL(sums_f32)(const struct mglu_cpu_sums *job)
{
    sum_matrix(job, MGLU_DTYPE_F32);
}

static void KERNEL(sums_f16)(const struct mglu_cpu_sums *job)
{
    sum_matrix(job, MGLU_DTYPE_F16);
}

static void KERNEL(sums_bf16)(const struct mglu_cpu_sums *job)
{
    sum_matrix(job, MGLU_DTYPE_BF16);
}

static void KERNEL(sums_q8_0)(const struct mglu_cpu_sums *job)
{
    sum_matrix(job, MGLU_DTYPE_Q8_0);
}

static void KERNEL(sums_q4_0)(const struct mglu_cpu_sums *job)
{
    sum_matrix(job, MGLU_DTYPE_Q4_0);
}

static void KERNEL(tiles_f32)(const struct mglu_cpu_tiles *job)
{
    sum_tiles(job, MGLU_DTYPE_F32);
}

static void KERNEL(tiles_f16)(const struct mglu_cpu_tiles *job)
{
    sum_tiles(job, MGLU_DTYPE_F16);
}

static void KERNEL(tiles_bf16)(const struct mglu_cpu_tiles *job)
{
    sum_tiles(job, MGLU_DTYPE_BF16);
}

static void KERNEL(tiles_q8_0)(const struct mglu_cpu_tiles *job)
{
    sum_tiles(job, MGLU_DTYPE_Q8_0);
}

static void KERNEL(tiles_q4_0)(const struct mglu_cpu_tiles *job)
{
    sum_tiles(job, MGLU_DTYPE_Q4_0);
}

static void KERNEL(widen_f32)(const void *source, float *target, int64_t count)
{
    widen(source, target, count, MGLU_DTYPE_F32);
}

static void KERNEL(widen_f16)(const void *source, float *target, int64_t count)
{
    widen(source, target, count, MGLU_DTYPE_F16);
}

static void KERNEL(widen_bf16)(const void *source, float *target, int64_t count)
{
    widen(source, target, count, MGLU_DTYPE_BF16);
}

static void KERNEL(narrow_f32)(const float *source, void *target, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        store_u32(target, i, narrow_to_f32(source[i]));
}

static void KERNEL(narrow_f16)(const float *source, void *target, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        store_u16(target, i, narrow_to_f16(source[i]));
}

static void KERNEL(narrow_bf16)(const float *source, void *target, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        store_u16(target, i, narrow_to_bf16(source[i]));
}

static void KERNEL(silu_f32)(float *g, int32_t count, float beta)
{
    for (int32_t i = 0; i < count; i++)
        g[i] = silu(g[i], beta);
}

static void KERNEL(gelu_erf_f32)(float *g, int32_t count, float beta)
{
    for (int32_t i = 0; i < count; i++)
        g[i] = gelu_erf(g[i]);
}

static void KERNEL(gelu_tanh_f32)(float *g, int32_t count, float beta)
{
    for (int32_t i = 0; i < count; i++)
        g[i] = gelu_tanh(g[i]);
}

static void KERNEL(relu_f32)(float *g, int32_t count, float beta)
{
    for (int32_t i = 0; i < count; i++)
        g[i] = relu(g[i]);
}

static void KERNEL(sigmoid_f32)(float *g, int32_t count, float beta)
{
    for (int32_t i = 0; i < count; i++)
        g[i] = sigmoid(g[i]);
}

static void KERNEL(identity_f32)(float *g, int32_t count, float beta)
{
}

const struct mglu_cpu_kernels KERNEL(kernels) = {
    .sums =
        {
            [MGLU_DTYPE_F32] = KERNEL(sums_f32),
            [MGLU_DTYPE_F16] = KERNEL(sums_f16),
            [MGLU_DTYPE_BF16] = KERNEL(sums_bf16),
            [MGLU_DTYPE_Q8_0] = KERNEL(sums_q8_0),
            [MGLU_DTYPE_Q4_0] = KERNEL(sums_q4_0),
        },
    .tiles =
        {
            [MGLU_DTYPE_F32] = KERNEL(tiles_f32),
            [MGLU_DTYPE_F16] = KERNEL(tiles_f16),
            [MGLU_DTYPE_BF16] = KERNEL(tiles_bf16),
            [MGLU_DTYPE_Q8_0] = KERNEL(tiles_q8_0),
            [MGLU_DTYPE_Q4_0] = KERNEL(tiles_q4_0),
        },
    .tile_rows = TILE_ROWS,
    .widen =
        {
            [MGLU_DTYPE_F32] = KERNEL(widen_f32),
            [MGLU_DTYPE_F16] = KERNEL(widen_f16),
            [MGLU_DTYPE_BF16] = KERNEL(widen_bf16),
        },
    .narrow =
        {
            [MGLU_DTYPE_F32] = KERNEL(narrow_f32),
            [MGLU_DTYPE_F16] = KERNEL(narrow_f16),
            [MGLU_DTYPE_BF16] = KERNEL(narrow_bf16),
        },
    .activate =
        {
            [MGLU_ACTIVATION_SILU] = KERNEL(silu_f32),
            [MGLU_ACTIVATION_GELU_ERF] = KERNEL(gelu_erf_f32),
            [MGLU_ACTIVATION_GELU_TANH] = KERNEL(gelu_tanh_f32),
            [MGLU_ACTIVATION_RELU] = KERNEL(relu_f32),
            [MGLU_ACTIVATION_SIGMOID] = KERNEL(sigmoid_f32),
            [MGLU_ACTIVATION_IDENTITY] = KERNEL(identity_f32),
        },
};

#endif
