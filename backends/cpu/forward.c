/* SPDX-License-Identifier: MIT */
#include "backends/cpu/cpu.h"
#include "common/core/mask_format.h"

#include <string.h>

/*
 * A forward works off its tokens in chunks. For each chunk: convert and route every token, then project blocks of rows
 * for all tokens while the rows are in the cache, then do the same with the rows of the down-projection.
 *
 * What one token's output is never depends on the other tokens, nor on how rows are spread over tasks.
 */

enum { BLOCK_ROWS = MGLU_CPU_BLOCK_ROWS };

/* Weights that a task should read at least, so that starting it costs nothing by comparison. */
#define TASK_BYTES ((size_t)64 << 10)

static const struct mglu_cpu_kernels *kernels_of(const struct mglu_cpu_chunk *chunk)
{
    return chunk->layer->backend->level->kernels;
}

static size_t row_bytes(const struct mglu_cpu_matrix *matrix)
{
    return matrix->row_stride + matrix->scale_stride +
           (size_t)matrix->groups * (size_t)matrix->n_masks * sizeof(uint32_t);
}

/* Rows of a task, in whole blocks. */
static int64_t task_rows(const struct mglu_cpu_matrix *matrix)
{
    size_t block_bytes = BLOCK_ROWS * row_bytes(matrix);

    return block_bytes >= TASK_BYTES ? BLOCK_ROWS : (int64_t)(TASK_BYTES / (block_bytes + 1) + 1) * BLOCK_ROWS;
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
        kernels_of(chunk)->widen[dtype](
            mglu_cpu_element(residual->data, residual->byte_offset, residual->row_stride, at, row, size), added, count);
        for (int32_t r = 0; r < count; r++)
            values[r] += added[r];
    }
    kernels_of(chunk)->narrow[dtype](values, mglu_cpu_element(y->data, y->byte_offset, y->row_stride, at, row, size),
                                     count);
}

/* Fills a row up with zeros to whole groups. */
static void pad_row(void *row, int64_t columns, size_t element_bytes)
{
    size_t padded = (size_t)mglu_format_groups((mglu_index)columns) * MGLU_GROUP_COLUMNS;

    memset((char *)row + (size_t)columns * element_bytes, 0, (padded - (size_t)columns) * element_bytes);
}

static void prepare_token(const struct mglu_cpu_chunk *chunk, int64_t token)
{
    const struct mglu_cpu_layer *layer = chunk->layer;
    const mglu_packed_weights *packed = &layer->weights->packed;
    const int64_t h = packed->hidden_size;
    const mglu_input *x = &chunk->args->x;
    const char *from = mglu_cpu_element(x->data, x->byte_offset, x->row_stride, chunk->first_token + token, 0,
                                        mglu_dtype_size(layer->desc.x_dtype));
    struct mglu_cpu_slot slot = mglu_cpu_slot(chunk, token);

    if (layer->use_bf16 && h > 0) {
        memcpy(slot.x_bf16, from, (size_t)h * sizeof(uint16_t));
        pad_row(slot.x_bf16, h, sizeof(uint16_t));
    }
    if (!layer->use_bf16 || packed->router.data)
        kernels_of(chunk)->widen[layer->desc.x_dtype](from, slot.x, h);
    if (packed->output_size > 0)
        pad_row(slot.z, packed->intermediate_size, sizeof(float));
    mglu_cpu_route(chunk, token);
}

/* values = totals - gates */
void mglu_cpu_split_totals(const struct mglu_cpu_layer *layer, const float *totals, struct mglu_cpu_block *block)
{
    for (int32_t i = 0; i < layer->terms; i++)
        for (int32_t r = 0; r < block->rows; r++)
            block->values[i][r] = totals[r] - block->gates[i][r];
}

static void sum_masked(const struct mglu_cpu_layer *layer, const struct mglu_cpu_slot *slot, const void *x,
                       struct mglu_cpu_block *block)
{
    float totals[BLOCK_ROWS];
    const struct mglu_cpu_sums job = {
        .matrix = &layer->weights->weight,
        .first_row = block->row,
        .rows = block->rows,
        .n = layer->terms,
        .mask_ids = slot->mask_ids,
        .x = x,
        .totals = totals,
        .gates = block->gates,
    };

    layer->project(&job);
    mglu_cpu_split_totals(layer, totals, block);
}

static void sum_plain(const struct mglu_cpu_layer *layer, const void *x, struct mglu_cpu_block *block)
{
    struct mglu_cpu_sums job = {.matrix = &layer->weights->weight,
                                .first_row = block->row,
                                .rows = block->rows,
                                .x = x,
                                .totals = block->gates[0]};

    layer->project(&job);
    job.matrix = &layer->weights->value;
    job.totals = block->values[0];
    layer->project(&job);
}

/* Adds `bias` [mask][d] (NULL: none) to the sums of the masks that were chosen. */
static void add_bias(const struct mglu_cpu_layer *layer, const float *bias, const int32_t *mask_ids,
                     const struct mglu_cpu_block *block, float (*sums)[BLOCK_ROWS])
{
    if (!bias)
        return;
    for (int32_t i = 0; i < layer->terms; i++) {
        const float *of_mask = bias + mask_ids[i] * layer->weights->packed.intermediate_size + block->row;
        for (int32_t r = 0; r < block->rows; r++)
            sums[i][r] += of_mask[r];
    }
}

/* Rows that the last block lacks are zeros, so that loops have one length. */
void mglu_cpu_begin_block(const struct mglu_cpu_layer *layer, int64_t row, int32_t rows, struct mglu_cpu_block *block)
{
    block->row = row;
    block->rows = rows;
    if (rows < BLOCK_ROWS) {
        memset(block->gates, 0, (size_t)layer->terms * sizeof block->gates[0]);
        memset(block->values, 0, (size_t)layer->terms * sizeof block->values[0]);
    }
}

/* From the sums of one token to its z, and y where there is no down-projection. */
void mglu_cpu_finish_block(const struct mglu_cpu_chunk *chunk, int64_t token, struct mglu_cpu_block *block)
{
    const struct mglu_cpu_layer *layer = chunk->layer;
    const mglu_packed_weights *packed = &layer->weights->packed;
    const struct mglu_cpu_slot slot = mglu_cpu_slot(chunk, token);
    float z[BLOCK_ROWS] = {0};

    add_bias(layer, packed->gate_bias, slot.mask_ids, block, block->gates);
    add_bias(layer, packed->value_bias, slot.mask_ids, block, block->values);
    kernels_of(chunk)->activate[layer->desc.activation](block->gates[0], layer->terms * BLOCK_ROWS,
                                                        layer->desc.silu_beta);
    for (int32_t i = 0; i < layer->terms; i++) {
        for (int32_t r = 0; r < BLOCK_ROWS; r++)
            z[r] += slot.p[i] * (block->gates[i][r] * block->values[i][r]);
    }
    if (packed->output_size > 0)
        memcpy(slot.z + block->row, z, (size_t)block->rows * sizeof(float));
    else
        store_rows(chunk, token, block->row, block->rows, z);
}

int32_t mglu_cpu_project_block(const struct mglu_cpu_chunk *chunk, int64_t token, int64_t row, int32_t rows)
{
    const struct mglu_cpu_layer *layer = chunk->layer;
    const struct mglu_cpu_slot slot = mglu_cpu_slot(chunk, token);
    const void *x = layer->use_bf16 ? (const void *)slot.x_bf16 : slot.x;
    struct mglu_cpu_block block;

    mglu_cpu_begin_block(layer, row, rows, &block);
    if (layer->weights->packed.kind == MGLU_KIND_PLAIN)
        sum_plain(layer, x, &block);
    else
        sum_masked(layer, &slot, x, &block);
    mglu_cpu_finish_block(chunk, token, &block);
    return 1;
}

/* From the sums of one token's down-projection to its y. */
void mglu_cpu_finish_down(const struct mglu_cpu_chunk *chunk, int64_t token, int64_t row, int32_t rows, float *values)
{
    const float *bias = chunk->layer->weights->packed.down_bias;

    for (int32_t r = 0; bias && r < rows; r++)
        values[r] += bias[row + r];
    store_rows(chunk, token, row, rows, values);
}

int32_t mglu_cpu_down_block(const struct mglu_cpu_chunk *chunk, int64_t token, int64_t row, int32_t rows)
{
    const struct mglu_cpu_weights *weights = chunk->layer->weights;
    const struct mglu_cpu_slot slot = mglu_cpu_slot(chunk, token);
    float values[BLOCK_ROWS];

    kernels_of(chunk)->sums[weights->packed.dtype](&(struct mglu_cpu_sums){
        .matrix = &weights->down, .first_row = row, .rows = rows, .x = slot.z, .totals = values});
    mglu_cpu_finish_down(chunk, token, row, rows, values);
    return 1;
}

/*
 * Applies `work` to the blocks of one task, to each for all tokens while its weights are in the cache. It returns how
 * many tokens it did.
 */
static void
for_each_block(const struct mglu_cpu_chunk *chunk, const struct mglu_cpu_matrix *matrix, int64_t rows, int64_t task,
               int32_t (*work)(const struct mglu_cpu_chunk *chunk, int64_t token, int64_t row, int32_t rows))
{
    int64_t row = task * task_rows(matrix), end = row + task_rows(matrix);

    if (end > rows)
        end = rows;
    for (; row < end; row += BLOCK_ROWS)
        for (int64_t token = 0; token < chunk->tokens;)
            token += work(chunk, token, row, end - row < BLOCK_ROWS ? (int32_t)(end - row) : BLOCK_ROWS);
}

static void project_task(const struct mglu_cpu_chunk *chunk, int64_t task)
{
    const struct mglu_cpu_weights *weights = chunk->layer->weights;

    for_each_block(chunk, &weights->weight, weights->packed.intermediate_size, task,
                   chunk->layer->use_int8 ? mglu_cpu_project_int8 : mglu_cpu_project_block);
}

static void down_task(const struct mglu_cpu_chunk *chunk, int64_t task)
{
    const struct mglu_cpu_weights *weights = chunk->layer->weights;

    for_each_block(chunk, &weights->down, weights->packed.output_size, task,
                   chunk->layer->use_int8 ? mglu_cpu_down_int8 : mglu_cpu_down_block);
}

static void for_each_task(const struct mglu_cpu_chunk *chunk, const struct mglu_cpu_matrix *matrix, int64_t rows,
                          void (*task)(const struct mglu_cpu_chunk *chunk, int64_t index))
{
    int64_t per_task = task_rows(matrix);

    mglu_cpu_parallel(chunk, (rows + per_task - 1) / per_task,
                      (size_t)per_task * row_bytes(matrix) * (size_t)chunk->tokens, task);
}

static void project(struct mglu_cpu_chunk *chunk)
{
    const struct mglu_cpu_weights *weights = chunk->layer->weights;

    if (chunk->layer->tiles && chunk->args->batch >= chunk->layer->large_batch) {
        mglu_cpu_project_batch(chunk);
        return;
    }
    if (chunk->layer->use_int8)
        mglu_cpu_parallel(chunk, chunk->tokens, (size_t)weights->packed.hidden_size * sizeof(float), mglu_cpu_round_x);
    for_each_task(chunk, &weights->weight, weights->packed.intermediate_size, project_task);
}

static void project_down(struct mglu_cpu_chunk *chunk)
{
    const struct mglu_cpu_weights *weights = chunk->layer->weights;

    if (chunk->layer->tiles && chunk->args->batch >= MGLU_CPU_LARGE_BATCH) {
        mglu_cpu_down_batch(chunk);
        return;
    }
    if (chunk->layer->use_int8)
        mglu_cpu_parallel(chunk, chunk->tokens, (size_t)weights->packed.intermediate_size * sizeof(float),
                          mglu_cpu_round_z);
    for_each_task(chunk, &weights->down, weights->packed.output_size, down_task);
}

/* Tokens of the next chunk: of all that are left, in as few chunks as they fit in, all of about one size. */
static int32_t next_chunk(const struct mglu_cpu_layer *layer, int64_t left)
{
    int64_t most = mglu_cpu_chunk_tokens(layer), chunks = (left + most - 1) / most;

    return (int32_t)((left + chunks - 1) / chunks);
}

mglu_status mglu_cpu_forward(void *backend, void *layer, void *queue, const mglu_forward_args *args)
{
    const struct mglu_cpu_layer *self = layer;
    const mglu_packed_weights *packed = &self->weights->packed;
    struct mglu_cpu_chunk chunk = {.layer = self, .args = args, .queue = queue};

    while (chunk.first_token < args->batch) {
        chunk.tokens = next_chunk(self, args->batch - chunk.first_token);
        mglu_cpu_parallel(&chunk, chunk.tokens, (size_t)packed->hidden_size * sizeof(float), prepare_token);
        project(&chunk);
        if (packed->output_size > 0)
            project_down(&chunk);
        chunk.first_token += chunk.tokens;
    }
    return MGLU_OK;
}
