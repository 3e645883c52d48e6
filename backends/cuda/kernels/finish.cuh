/* SPDX-License-Identifier: MIT */
#ifndef MGLU_CUDA_FINISH_CUH
#define MGLU_CUDA_FINISH_CUH

/*
 * Computes y from the sums of each warp. The warps of a block write their partial sums to shared memory,
 * [warp][sum][token][row]; these are added in the order of the warps, so that the same input gives the same bits.
 */

#include "backends/cuda/kernels/activate.cuh"
#include "backends/cuda/kernels/elements.cuh"
#include "backends/cuda/kernels/params.h"

/* The meaning of a kernel's sums. */
enum sum_kind {
    SUMS_ROW,    /* the row */
    SUMS_GLU,    /* gate, value */
    SUMS_GATES,  /* the row, then the gate of each term */
    SUMS_SIGNED, /* the row, then for each term value - gate */
};

/* A strip's outputs for up to TOKENS tokens from first_token on. */
template <sum_kind KIND, int SUMS, int TOKENS> struct finisher {
    static constexpr int PLANE = TOKENS * MGLU_TILE_ROWS;
    static constexpr int TERMS = KIND == SUMS_GATES || KIND == SUMS_SIGNED ? SUMS - 1 : 1;

    const mglu_cuda_projection &p;
    float *shared;
    uint32_t strip;
    int64_t first_token;

    MGLU_METHOD float &part(uint32_t warp, int sum, uint32_t token, uint32_t row)
    {
        return shared[(warp * SUMS + (uint32_t)sum) * PLANE + token * MGLU_TILE_ROWS + row];
    }

    MGLU_METHOD float whole(int sum, uint32_t token, uint32_t row)
    {
        float total = part(0, sum, token, row);

        for (uint32_t warp = 1; warp < blockDim.x / 32; warp++)
            total += part(warp, sum, token, row);
        return total;
    }

    /* One term of y without bias and weight. */
    MGLU_METHOD void split(int term, uint32_t token, uint32_t row, float &gate, float &value)
    {
        float first = whole(0, token, row);

        if constexpr (KIND == SUMS_GLU) {
            gate = first;
            value = whole(1, token, row);
        } else if constexpr (KIND == SUMS_GATES) {
            gate = whole(1 + term, token, row);
            value = first - gate;
        } else {
            float difference = whole(1 + term, token, row);
            gate = 0.5f * (first - difference);
            value = 0.5f * (first + difference);
        }
    }

    MGLU_METHOD float term(int term, uint32_t token, uint32_t row)
    {
        int64_t at = (first_token + token) * p.terms + term;
        int32_t mask = p.mask_ids ? global<const int32_t>(p.mask_ids)[at] : term;
        uint64_t bias = (uint64_t)mask * p.rows + strip * MGLU_TILE_ROWS + row;
        float weight = p.mask_weights ? global<const float>(p.mask_weights)[at] : 1.0f;
        float gate, value;

        split(term, token, row, gate, value);
        if (p.gate_bias)
            gate += global<const float>(p.gate_bias)[bias];
        if (p.value_bias)
            value += global<const float>(p.value_bias)[bias];
        return weight * (activate(p.activation, p.silu_beta, gate) * value);
    }

    /* All terms of the existing tokens in parallel. A term overwrites a part that no other thread reads. */
    MGLU_METHOD void make_terms(uint32_t tokens, uint32_t rows)
    {
        const uint32_t plane = tokens * MGLU_TILE_ROWS, count = (uint32_t)p.terms * plane;

        for (uint32_t i = threadIdx.x; i < count; i += blockDim.x) {
            int index = (int)(i / plane);
            uint32_t token = i % plane / MGLU_TILE_ROWS, row = i % MGLU_TILE_ROWS;
            if (row < rows)
                part(0, SUMS - TERMS + index, token, row) = term(index, token, row);
        }
        __syncthreads();
    }

    MGLU_METHOD float result(uint32_t token, uint32_t row)
    {
        if constexpr (KIND == SUMS_ROW) {
            float bias = p.gate_bias ? global<const float>(p.gate_bias)[strip * MGLU_TILE_ROWS + row] : 0.0f;
            return whole(0, token, row) + bias;
        }
        float sum = part(0, SUMS - TERMS, token, row);
        for (int i = 1; i < p.terms; i++)
            sum += part(0, SUMS - TERMS + i, token, row);
        return sum;
    }

    /* Called by all threads after all parts were written. The next parts may be written once it has returned. */
    MGLU_METHOD void finish()
    {
        int64_t tokens_left = p.batch - first_token;
        uint32_t tokens = TOKENS == 1 ? 1 : tokens_left < TOKENS ? (uint32_t)tokens_left : TOKENS;
        uint32_t rows_left = p.rows - strip * MGLU_TILE_ROWS;
        uint32_t rows = rows_left < MGLU_TILE_ROWS ? rows_left : (uint32_t)MGLU_TILE_ROWS;

        __syncthreads();
        if constexpr (KIND != SUMS_ROW)
            make_terms(tokens, rows);
        for (uint32_t i = threadIdx.x; i < tokens * MGLU_TILE_ROWS; i += blockDim.x) {
            uint32_t token = i / MGLU_TILE_ROWS, row = i % MGLU_TILE_ROWS;
            if (row < rows)
                store(token, row, result(token, row));
        }
        __syncthreads();
    }

    MGLU_METHOD void store(uint32_t token, uint32_t row, float value)
    {
        int64_t at = first_token + token, column = (int64_t)strip * MGLU_TILE_ROWS + row;

        if (p.residual)
            value += load_element(element_address(p.residual, at * p.residual_stride + column, p.y_dtype), p.y_dtype);
        store_element(element_address(p.y, at * p.y_stride + column, p.y_dtype), p.y_dtype, value);
    }
};

#endif
