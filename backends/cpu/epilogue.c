/* SPDX-License-Identifier: MIT */
#include "backends/cpu/cpu.h"
#include "common/core/mask_format.h"

#include <string.h>

/* Computes z and y from the sums of a block of rows. */

enum { BLOCK_ROWS = MGLU_CPU_BLOCK_ROWS };

static const struct mglu_cpu_elementwise *elementwise_of(const struct mglu_cpu_chunk *chunk)
{
    return chunk->layer->backend->isa->elementwise;
}

/* Missing rows of the last block are zeros, so that all loops have the same length. */
void mglu_cpu_begin_block(const struct mglu_cpu_layer *layer, int64_t row, int32_t rows, struct mglu_cpu_block *block)
{
    block->row = row;
    block->rows = rows;
    if (rows < BLOCK_ROWS) {
        memset(block->gates, 0, (size_t)layer->plan.terms * sizeof block->gates[0]);
        memset(block->values, 0, (size_t)layer->plan.terms * sizeof block->values[0]);
    }
}

/* values = totals - gates */
void mglu_cpu_split_totals(const struct mglu_cpu_layer *layer, const float *totals, struct mglu_cpu_block *block)
{
    for (int32_t i = 0; i < layer->plan.terms; i++)
        for (int32_t r = 0; r < block->rows; r++)
            block->values[i][r] = totals[r] - block->gates[i][r];
}

/* Adds `bias` [mask][d] (NULL: none) to the sums of the selected masks. */
static void add_bias(const struct mglu_cpu_layer *layer, const float *bias, const int32_t *mask_ids,
                     const struct mglu_cpu_block *block, float (*sums)[BLOCK_ROWS])
{
    if (!bias)
        return;
    for (int32_t i = 0; i < layer->plan.terms; i++) {
        const float *of_mask = bias + mask_ids[i] * layer->weights->packed.intermediate_size + block->row;
        for (int32_t r = 0; r < block->rows; r++)
            sums[i][r] += of_mask[r];
    }
}

/* Adds the residual, rounds, and writes elements row..row+count-1 of a token's y. */
static void store_rows(const struct mglu_cpu_chunk *chunk, int64_t token, int64_t row, int32_t count, float *values)
{
    const mglu_dtype dtype = chunk->layer->desc.y_dtype;
    const mglu_output *y = &chunk->args->y;
    const mglu_input *residual = &chunk->args->residual;
    const size_t size = mglu_dtype_size(dtype);
    const int64_t at = chunk->first_token + token;

    if (residual->data) {
        float added[MGLU_GROUP_COLUMNS];
        elementwise_of(chunk)->widen[dtype](
            mglu_cpu_element(residual->data, residual->byte_offset, residual->row_stride, at, row, size), added, count);
        for (int32_t r = 0; r < count; r++)
            values[r] += added[r];
    }
    elementwise_of(chunk)->narrow[dtype](
        values, mglu_cpu_element(y->data, y->byte_offset, y->row_stride, at, row, size), count);
}

/* Takes rows of one token's z, or of its y where there is no down-projection. */
void mglu_cpu_finish_rows(const struct mglu_cpu_chunk *chunk, int64_t token, int64_t row, int32_t rows, float *z)
{
    if (chunk->layer->weights->packed.output_size > 0)
        memcpy(mglu_cpu_token_workspace(chunk, token).z + row, z, (size_t)rows * sizeof(float));
    else
        store_rows(chunk, token, row, rows, z);
}

/* Computes one token's z or y from its sums. */
void mglu_cpu_finish_block(const struct mglu_cpu_chunk *chunk, int64_t token, struct mglu_cpu_block *block)
{
    const struct mglu_cpu_layer *layer = chunk->layer;
    const mglu_packed_weights *packed = &layer->weights->packed;
    const struct mglu_cpu_token_workspace own = mglu_cpu_token_workspace(chunk, token);
    float z[BLOCK_ROWS] = {0};

    add_bias(layer, packed->gate_bias, own.mask_ids, block, block->gates);
    add_bias(layer, packed->value_bias, own.mask_ids, block, block->values);
    elementwise_of(chunk)->activate[layer->desc.activation](block->gates[0], layer->plan.terms * BLOCK_ROWS,
                                                            layer->desc.silu_beta);
    for (int32_t i = 0; i < layer->plan.terms; i++) {
        for (int32_t r = 0; r < BLOCK_ROWS; r++)
            z[r] += own.p[i] * (block->gates[i][r] * block->values[i][r]);
    }
    mglu_cpu_finish_rows(chunk, token, block->row, block->rows, z);
}

/* Computes one token's y from the sums of the down-projection. */
void mglu_cpu_finish_down(const struct mglu_cpu_chunk *chunk, int64_t token, int64_t row, int32_t rows, float *values)
{
    const float *bias = chunk->layer->weights->packed.down_bias;

    for (int32_t r = 0; bias && r < rows; r++)
        values[r] += bias[row + r];
    store_rows(chunk, token, row, rows, values);
}
