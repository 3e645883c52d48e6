/* SPDX-License-Identifier: MIT */
#include "backends/cpu/cpu.h"

#include <string.h>

/*
 * Large batches are bound by arithmetic, not by reading weights: each block of rows is summed for all tokens of a chunk
 * at once, the totals first and then each mask for the tokens that chose it. What is done with the sums is forward.c's.
 */

/* Most tokens of a chunk, and rows of a task: a whole cache line of y even in 16 bits. */
enum { MOST_TOKENS = 128, TASK_ROWS = 32, BLOCK_ROWS = MGLU_CPU_BLOCK_ROWS };

static int32_t tile_rows(const struct mglu_cpu_layer *layer)
{
    return layer->backend->level->kernels->tile_rows;
}

/* So many that their sums with a block of rows fit. */
int32_t mglu_cpu_batch_tokens(const struct mglu_cpu_layer *layer)
{
    int32_t fitting = MGLU_CPU_BATCH_SUMS / tile_rows(layer) / (1 + layer->terms);

    return fitting < MOST_TOKENS ? fitting : MOST_TOKENS;
}

/* Sorts the terms of all tokens by mask; within a mask, tokens stay in order. */
static void make_lists(const struct mglu_cpu_chunk *chunk, struct mglu_cpu_lists *lists)
{
    const int32_t terms = chunk->layer->terms, n_masks = chunk->layer->weights->packed.n_masks;
    int32_t next[MGLU_MAX_MASKS] = {0}, place = chunk->tokens;

    lists->count = 1 + (n_masks > 0 ? n_masks : 1);
    lists->first[0] = 0;
    for (int32_t token = 0; token < chunk->tokens; token++) {
        lists->tokens[token] = token;
        for (int32_t i = 0; i < terms; i++)
            next[mglu_cpu_slot(chunk, token).mask_ids[i]]++;
    }
    for (int32_t list = 1; list < lists->count; list++) {
        lists->first[list] = place;
        place += next[list - 1];
        next[list - 1] = lists->first[list];
    }
    lists->first[lists->count] = place;
    for (int32_t token = 0; token < chunk->tokens; token++)
        for (int32_t i = 0; i < terms; i++) {
            place = next[mglu_cpu_slot(chunk, token).mask_ids[i]]++;
            lists->tokens[place] = token;
            lists->places[token * terms + i] = place;
        }
}

/* All sums of a block of rows. */
static void sum_lists(const struct mglu_cpu_chunk *chunk, int64_t row, int32_t rows, float *sums)
{
    const struct mglu_cpu_layer *layer = chunk->layer;
    const struct mglu_cpu_weights *weights = layer->weights;
    const struct mglu_cpu_slot slot = mglu_cpu_slot(chunk, 0);
    const int is_plain = weights->packed.kind == MGLU_KIND_PLAIN;

    for (int32_t list = 0; list < chunk->lists->count; list++) {
        const int32_t first = chunk->lists->first[list];
        layer->tiles(&(struct mglu_cpu_tiles){
            .matrix = is_plain && list > 0 ? &weights->value : &weights->weight,
            .first_row = row,
            .rows = rows,
            .mask = is_plain || list == 0 ? MGLU_CPU_NO_MASK : list - 1,
            .x = layer->use_bf16 ? (const char *)slot.x_bf16 : (const char *)slot.x,
            .x_stride = layer->layout.size,
            .tokens = chunk->lists->tokens + first,
            .count = chunk->lists->first[list + 1] - first,
            .sums = sums + (size_t)first * (size_t)tile_rows(layer),
        });
    }
}

/* The sums of one token with one block of those rows. */
static void take_block(const struct mglu_cpu_chunk *chunk, int64_t token, const float *sums,
                       struct mglu_cpu_block *block)
{
    const struct mglu_cpu_layer *layer = chunk->layer;
    const int32_t *places = chunk->lists->places + token * layer->terms;
    const float *totals = sums + token * tile_rows(layer);

    if (layer->weights->packed.kind == MGLU_KIND_PLAIN) {
        memcpy(block->gates[0], totals, sizeof block->gates[0]);
        memcpy(block->values[0], sums + places[0] * tile_rows(layer), sizeof block->values[0]);
        return;
    }
    for (int32_t i = 0; i < layer->terms; i++)
        memcpy(block->gates[i], sums + places[i] * tile_rows(layer), sizeof block->gates[i]);
    if (block->rows < BLOCK_ROWS)
        memset(block->values, 0, (size_t)layer->terms * sizeof block->values[0]);
    mglu_cpu_split_totals(layer, totals, block);
}

static int32_t rows_left(int64_t row, int64_t rows, int32_t most)
{
    return rows - row < most ? (int32_t)(rows - row) : most;
}

static void project_rows(const struct mglu_cpu_chunk *chunk, int64_t row, int32_t rows)
{
    _Alignas(64) float sums[MGLU_CPU_BATCH_SUMS];

    sum_lists(chunk, row, rows, sums);
    for (int64_t token = 0; token < chunk->tokens; token++)
        for (int32_t part = 0; part < rows; part += BLOCK_ROWS) {
            struct mglu_cpu_block block;
            block.row = row + part;
            block.rows = rows_left(part, rows, BLOCK_ROWS);
            take_block(chunk, token, sums + part, &block);
            mglu_cpu_finish_block(chunk, token, &block);
        }
}

static void down_rows(const struct mglu_cpu_chunk *chunk, int64_t row, int32_t rows)
{
    const struct mglu_cpu_layer *layer = chunk->layer;
    _Alignas(64) float sums[MGLU_CPU_BATCH_SUMS];

    layer->backend->level->kernels->tiles[layer->weights->packed.dtype](&(struct mglu_cpu_tiles){
        .matrix = &layer->weights->down,
        .first_row = row,
        .rows = rows,
        .mask = MGLU_CPU_NO_MASK,
        .x = (const char *)mglu_cpu_slot(chunk, 0).z,
        .x_stride = layer->layout.size,
        .tokens = chunk->lists->tokens,
        .count = chunk->tokens,
        .sums = sums,
    });
    for (int64_t token = 0; token < chunk->tokens; token++)
        for (int32_t part = 0; part < rows; part += BLOCK_ROWS)
            mglu_cpu_finish_down(chunk, token, row + part, rows_left(part, rows, BLOCK_ROWS),
                                 sums + token * tile_rows(layer) + part);
}

static void project_task(const struct mglu_cpu_chunk *chunk, int64_t task)
{
    const int64_t rows = rows_left(task * TASK_ROWS, chunk->layer->weights->packed.intermediate_size, TASK_ROWS);

    for (int64_t row = 0; row < rows; row += tile_rows(chunk->layer))
        project_rows(chunk, task * TASK_ROWS + row, rows_left(row, rows, tile_rows(chunk->layer)));
}

static void down_task(const struct mglu_cpu_chunk *chunk, int64_t task)
{
    const int64_t rows = rows_left(task * TASK_ROWS, chunk->layer->weights->packed.output_size, TASK_ROWS);

    for (int64_t row = 0; row < rows; row += tile_rows(chunk->layer))
        down_rows(chunk, task * TASK_ROWS + row, rows_left(row, rows, tile_rows(chunk->layer)));
}

/* All rows of a matrix for all tokens of the chunk. */
static void for_each_task(struct mglu_cpu_chunk *chunk, const struct mglu_cpu_matrix *matrix, int64_t rows,
                          void (*task)(const struct mglu_cpu_chunk *chunk, int64_t index))
{
    struct mglu_cpu_lists lists;

    make_lists(chunk, &lists);
    chunk->lists = &lists;
    mglu_cpu_parallel(chunk, (rows + TASK_ROWS - 1) / TASK_ROWS, TASK_ROWS * matrix->row_stride * (size_t)chunk->tokens,
                      task);
    chunk->lists = NULL;
}

void mglu_cpu_project_batch(struct mglu_cpu_chunk *chunk)
{
    const struct mglu_cpu_weights *weights = chunk->layer->weights;

    for_each_task(chunk, &weights->weight, weights->packed.intermediate_size, project_task);
}

void mglu_cpu_down_batch(struct mglu_cpu_chunk *chunk)
{
    const struct mglu_cpu_weights *weights = chunk->layer->weights;

    for_each_task(chunk, &weights->down, weights->packed.output_size, down_task);
}
