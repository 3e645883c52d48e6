/* SPDX-License-Identifier: MIT */
#include "backends/cpu/cpu.h"

/* Projections by GEMV: each block of rows is summed token by token, while its weights are in the cache. */

enum { BLOCK_ROWS = MGLU_CPU_BLOCK_ROWS, STREAM_START_BYTES = 2048 };

/* Kernels prefetch within a stream of rows, but not the beginning of the next one, in another matrix. */
static void prefetch_block(const struct mglu_cpu_matrix *matrix, int64_t row)
{
    const int32_t streams = matrix->streams.plain_rows;
    const size_t row_bytes = matrix->stride_bytes < STREAM_START_BYTES ? matrix->stride_bytes : STREAM_START_BYTES;

    for (int32_t i = 0; i < streams; i++) {
        const uintptr_t start =
            (uintptr_t)matrix->rows + (size_t)(row + i * (BLOCK_ROWS / streams)) * matrix->stride_bytes;
        for (size_t byte = 0; byte < row_bytes; byte += 64)
            __builtin_prefetch((const void *)(start + byte));
    }
}

static void sum_masked(const struct mglu_cpu_layer *layer, const struct mglu_cpu_token_workspace *own, const void *x,
                       struct mglu_cpu_block *block)
{
    float totals[BLOCK_ROWS];
    const struct mglu_cpu_gemv job = {
        .matrix = &layer->weights->weight,
        .first_row = block->row,
        .rows = block->rows,
        .n = layer->plan.terms,
        .mask_ids = own->mask_ids,
        .x = x,
        .totals = totals,
        .gates = block->gates,
    };

    layer->plan.project_gemv(&job);
    mglu_cpu_split_totals(layer, totals, block);
}

static void sum_plain(const struct mglu_cpu_layer *layer, const void *x, struct mglu_cpu_block *block)
{
    struct mglu_cpu_gemv job = {.matrix = &layer->weights->weight,
                                .first_row = block->row,
                                .rows = block->rows,
                                .x = x,
                                .totals = block->gates[0]};

    prefetch_block(&layer->weights->value, block->row);
    layer->plan.project_gemv(&job);
    job.matrix = &layer->weights->value;
    job.totals = block->values[0];
    prefetch_block(&layer->weights->weight, block->row + BLOCK_ROWS);
    layer->plan.project_gemv(&job);
}

int32_t mglu_cpu_project_block(const struct mglu_cpu_chunk *chunk, int64_t token, int64_t row, int32_t rows)
{
    const struct mglu_cpu_layer *layer = chunk->layer;
    const struct mglu_cpu_token_workspace own = mglu_cpu_token_workspace(chunk, token);
    const void *x = layer->plan.gemv_bf16 ? (const void *)own.x_bf16 : own.x;
    struct mglu_cpu_block block;

    mglu_cpu_begin_block(layer, row, rows, &block);
    if (layer->weights->packed.kind == MGLU_KIND_PLAIN)
        sum_plain(layer, x, &block);
    else
        sum_masked(layer, &own, x, &block);
    mglu_cpu_finish_block(chunk, token, &block);
    return 1;
}

int32_t mglu_cpu_down_block(const struct mglu_cpu_chunk *chunk, int64_t token, int64_t row, int32_t rows)
{
    const struct mglu_cpu_weights *weights = chunk->layer->weights;
    const struct mglu_cpu_token_workspace own = mglu_cpu_token_workspace(chunk, token);
    float values[BLOCK_ROWS];

    chunk->layer->plan.down_gemv(&(struct mglu_cpu_gemv){
        .matrix = &weights->down, .first_row = row, .rows = rows, .x = own.z, .totals = values});
    mglu_cpu_finish_down(chunk, token, row, rows, values);
    return 1;
}

typedef int32_t block_fn(const struct mglu_cpu_chunk *chunk, int64_t token, int64_t row, int32_t rows);

/*
 * Applies `work` to the blocks of one task, to each for all tokens. It returns the number of tokens it computed.
 */
static void for_each_block(const struct mglu_cpu_chunk *chunk, const struct mglu_cpu_tasks *tasks, int64_t rows,
                           int64_t task, block_fn *work)
{
    int64_t row = task * tasks->rows, end = row + tasks->rows;

    if (end > rows)
        end = rows;
    for (; row < end; row += BLOCK_ROWS)
        for (int64_t token = 0; token < chunk->tokens;)
            token += work(chunk, token, row, end - row < BLOCK_ROWS ? (int32_t)(end - row) : BLOCK_ROWS);
}

static void project_task(const struct mglu_cpu_chunk *chunk, int64_t task)
{
    const struct mglu_cpu_plan *plan = &chunk->layer->plan;
    block_fn *one = plan->use_int8 ? mglu_cpu_project_int8 : mglu_cpu_project_block;

    for_each_block(chunk, &plan->gemv_project, chunk->layer->weights->packed.intermediate_size, task,
                   plan->project_tokens ? mglu_cpu_project_tokens : one);
}

static void down_task(const struct mglu_cpu_chunk *chunk, int64_t task)
{
    const struct mglu_cpu_plan *plan = &chunk->layer->plan;
    block_fn *one = plan->use_int8 ? mglu_cpu_down_int8 : mglu_cpu_down_block;

    for_each_block(chunk, &plan->gemv_down, chunk->layer->weights->packed.output_size, task,
                   plan->down_tokens ? mglu_cpu_down_tokens : one);
}

void mglu_cpu_project_by_gemv(const struct mglu_cpu_chunk *chunk)
{
    const struct mglu_cpu_tasks *tasks = &chunk->layer->plan.gemv_project;

    mglu_cpu_quantise_x(chunk);
    mglu_cpu_parallel(chunk, tasks->count, tasks->bytes * (size_t)chunk->tokens, project_task);
}

void mglu_cpu_down_by_gemv(const struct mglu_cpu_chunk *chunk)
{
    const struct mglu_cpu_tasks *tasks = &chunk->layer->plan.gemv_down;

    mglu_cpu_quantise_z(chunk);
    mglu_cpu_parallel(chunk, tasks->count, tasks->bytes * (size_t)chunk->tokens, down_task);
}
