/* SPDX-License-Identifier: MIT */
#include "backends/cpu/cpu.h"

/* The sums of GEMM where x and z are quantised to 8 bits. Those of tokens that cannot be quantised are not used. */

/* The sums of lists `list` to `list + lists - 1`, where `quantised` is the x or z of the first token. */
static void sum_lists(const struct mglu_cpu_chunk *chunk, const struct mglu_cpu_matrix *matrix, const void *quantised,
                      int32_t list, int32_t lists, int64_t row, int32_t rows, float *sums)
{
    const struct mglu_cpu_plan *plan = &chunk->layer->plan;

    (chunk->by_mask->packed_lists > 0 ? plan->gemm_int8_packed : plan->gemm_int8)(&(struct mglu_cpu_gemm_int8){
        .matrix = matrix,
        .first_row = row,
        .rows = rows,
        .lists = lists,
        .first = chunk->by_mask->first + list,
        .tokens = chunk->by_mask->tokens,
        .x = quantised,
        .x_stride = chunk->layer->layout.size,
        .packed = (const char *)mglu_cpu_packed_block(chunk, 0),
        .block_bytes = mglu_cpu_packed_block_bytes(chunk),
        .first_block = chunk->by_mask->first_block + list,
        .sums = sums,
    });
}

void mglu_cpu_project_sums_int8(const struct mglu_cpu_chunk *chunk, int64_t row, int32_t rows, float *sums)
{
    const struct mglu_cpu_weights *weights = chunk->layer->weights;
    const void *x = mglu_cpu_token_workspace(chunk, 0).quantised_x;

    if (weights->packed.kind != MGLU_KIND_PLAIN) {
        sum_lists(chunk, &weights->weight, x, 0, chunk->by_mask->count, row, rows, sums);
        return;
    }
    sum_lists(chunk, &weights->weight, x, 0, 1, row, rows, sums);
    sum_lists(chunk, &weights->value, x, 1, 1, row, rows, sums);
}

void mglu_cpu_down_sums_int8(const struct mglu_cpu_chunk *chunk, int64_t row, int32_t rows, float *sums)
{
    const void *z = mglu_cpu_token_workspace(chunk, 0).quantised_z;

    sum_lists(chunk, &chunk->layer->weights->down, z, 0, 1, row, rows, sums);
}
