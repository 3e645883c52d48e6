/* SPDX-License-Identifier: MIT */
#include "narrow.h"
#include "weights.h"

#include "common/core/activate.h"

#include <string.h>

/* Conversions and activations, element by element. */

MGLU_INLINE void widen(const void *source, float *target, int64_t count, mglu_dtype dtype)
{
    uint32_t last[MGLU_GROUP_COLUMNS] = {0};
    int64_t whole = count / MGLU_GROUP_COLUMNS * MGLU_GROUP_COLUMNS;

    for (int64_t column = 0; column < whole; column += VEC_LANES)
        vec_store_f32(target + column, load_elements(source, column, dtype));
    if (count == whole)
        return;
    memcpy(last, (const char *)source + (size_t)whole * element_bytes(dtype),
           (size_t)(count - whole) * element_bytes(dtype));
    for (int64_t column = 0; column < MGLU_GROUP_COLUMNS; column += VEC_LANES)
        vec_store_f32(target + whole + column, load_elements(last, column, dtype));
}

static void widen_f32(const void *source, float *target, int64_t count)
{
    widen(source, target, count, MGLU_DTYPE_F32);
}

static void widen_f16(const void *source, float *target, int64_t count)
{
    widen(source, target, count, MGLU_DTYPE_F16);
}

static void widen_bf16(const void *source, float *target, int64_t count)
{
    widen(source, target, count, MGLU_DTYPE_BF16);
}

static void narrow_f32(const float *source, void *target, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        store_u32(target, i, narrow_to_f32(source[i]));
}

static void narrow_f16(const float *source, void *target, int64_t count)
{
    int64_t i = 0;

#ifdef VEC_STORES_F16
    for (; i + VEC_LANES <= count; i += VEC_LANES)
        vec_store_f16((char *)target + 2 * i, vec_load_f32(source + i));
#endif
    for (; i < count; i++)
        store_u16(target, i, narrow_to_f16(source[i]));
}

static void narrow_bf16(const float *source, void *target, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        store_u16(target, i, narrow_to_bf16(source[i]));
}

static void apply_silu(float *g, int32_t count, float beta)
{
    for (int32_t i = 0; i < count; i++)
        g[i] = silu(g[i], beta);
}

static void apply_gelu_erf(float *g, int32_t count, float beta)
{
    for (int32_t i = 0; i < count; i++)
        g[i] = gelu_erf(g[i]);
}

static void apply_gelu_tanh(float *g, int32_t count, float beta)
{
    for (int32_t i = 0; i < count; i++)
        g[i] = gelu_tanh(g[i]);
}

static void apply_relu(float *g, int32_t count, float beta)
{
    for (int32_t i = 0; i < count; i++)
        g[i] = relu(g[i]);
}

static void apply_sigmoid(float *g, int32_t count, float beta)
{
    for (int32_t i = 0; i < count; i++)
        g[i] = sigmoid(g[i]);
}

static void apply_identity(float *g, int32_t count, float beta)
{
}

/* Tokens at once, so that operations of one hide the latency of another's. */
enum { TERM_TOKENS = 8 };

/* The gates and values of one token with their biases. */
MGLU_INLINE void split_token(const struct mglu_cpu_terms *job, int32_t t, int rows, float *values)
{
    const float *others = job->others + (size_t)(job->tokens ? job->tokens[t] : t) * (size_t)rows;
    float *gates = job->gates + (size_t)t * (size_t)rows;

    for (int r = 0; r < rows; r++) {
        values[r] = (job->tokens ? others[r] - gates[r] : others[r]) + job->value_bias[r];
        gates[r] += job->gate_bias[r];
    }
}

MGLU_INLINE void make_terms_of_rows(const struct mglu_cpu_terms *job, int rows)
{
    float values[TERM_TOKENS][GEMM_ROWS];

    for (int32_t first = 0; first < job->count; first += TERM_TOKENS) {
        const int32_t n = job->count - first < TERM_TOKENS ? job->count - first : TERM_TOKENS;
        float *gates = job->gates + (size_t)first * (size_t)rows;
        for (int32_t t = 0; t < n; t++)
            split_token(job, first + t, rows, values[t]);
        job->activate(gates, n * rows, job->beta);
        for (int32_t t = 0; t < n; t++)
            for (int r = 0; r < rows; r++)
                gates[t * rows + r] = job->p[first + t] * (gates[t * rows + r] * values[t][r]);
    }
}

static void make_terms(const struct mglu_cpu_terms *job)
{
    if (job->rows == GEMM_ROWS)
        make_terms_of_rows(job, GEMM_ROWS);
    else
        make_terms_of_rows(job, MGLU_CPU_BLOCK_ROWS);
}

const struct mglu_cpu_elementwise KERNEL(elementwise) = {
    .terms = make_terms,
    .widen =
        {
            [MGLU_DTYPE_F32] = widen_f32,
            [MGLU_DTYPE_F16] = widen_f16,
            [MGLU_DTYPE_BF16] = widen_bf16,
        },
    .narrow =
        {
            [MGLU_DTYPE_F32] = narrow_f32,
            [MGLU_DTYPE_F16] = narrow_f16,
            [MGLU_DTYPE_BF16] = narrow_bf16,
        },
    .activate =
        {
            [MGLU_ACTIVATION_SILU] = apply_silu,
            [MGLU_ACTIVATION_GELU_ERF] = apply_gelu_erf,
            [MGLU_ACTIVATION_GELU_TANH] = apply_gelu_tanh,
            [MGLU_ACTIVATION_RELU] = apply_relu,
            [MGLU_ACTIVATION_SIGMOID] = apply_sigmoid,
            [MGLU_ACTIVATION_IDENTITY] = apply_identity,
        },
};
