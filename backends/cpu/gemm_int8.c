/* SPDX-License-Identifier: MIT */
#include "backends/cpu/cpu.h"

/* The sums of GEMM where x and z are quantised to 8 bits. Those of tokens that cannot be quantised are not used. */

static void sum_lists(const struct mglu_cpu_chunk *chunk, const struct mglu_cpu_matrix *matrix, const void *quantised,
                      const int32_t *first, int32_t lists, int64_t row, int32_t rows, float *sums)
{
    chunk->layer->plan.gemm_int8(&(struct mglu_cpu_gemm_int8){
        .matrix = matrix,
        .first_row = row,
        .rows = rows,
        .lists = lists,
        .first = first,
        .tokens = chunk->by_mask->tokens,
        .x = quantised,
        .x_stride = chunk->layer->layout.size,
        .sums = sums,
    });
}

void mglu_cpu_project_sums_int8(const struct mglu_cpu_chunk *chunk, int64_t row, int32_t rows, float *sums)
{
    const struct mglu_cpu_weights *weights = chunk->layer->weights;
    const struct mglu_cpu_tokens_by_mask *by_mask = chunk->by_mask;
    const void *x = mglu_cpu_token_workspace(chunk, 0).quantised_x;

    if (weights->packed.kind != MGLU_KIND_PLAIN) {
        sum_lists(chunk, &weights->weight, x, by_mask->first, by_mask->count, row, rows, sums);
        return;
    }
    sum_lists(chunk, &weights->weight, x, by_mask->first, 1, row, rows, sums);
    sum_lists(chunk, &weights->value, x, by_mask->first + 1, 1, row, rows, sums);
}

void mglu_cpu_down_sums_int8(const struct mglu_cpu_chunk *chunk, int64_t row, int32_t rows, float *sums)
{
    const void *z = mglu_cpu_token_workspace(chunk, 0).quantised_z;

    sum_lists(chunk, &chunk->layer->weights->down, z, chunk->by_mask->first, 1, row, rows, sums);
}
