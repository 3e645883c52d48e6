/* SPDX-License-Identifier: MIT */
#include "backends/cpu/cpu.h"
#include "common/core/mask_format.h"

/*
 * Layers whose x and z may be rounded to 8 bits. Blocks of rows are summed for several tokens at once where these use
 * the same masks. Tokens that can't be rounded are summed as without the permission.
 */

enum { TOGETHER = MGLU_CPU_TOGETHER };

static void round_columns(const struct mglu_cpu_layer *layer, const float *x, int64_t columns, void *rounded)
{
    layer->backend->level->int8->round_x(x, (int64_t)mglu_format_groups((mglu_index)columns), rounded);
}

void mglu_cpu_round_x(const struct mglu_cpu_chunk *chunk, int64_t token)
{
    const struct mglu_cpu_slot slot = mglu_cpu_slot(chunk, token);

    round_columns(chunk->layer, slot.x, chunk->layer->weights->packed.hidden_size, slot.x_rounded);
}

void mglu_cpu_round_z(const struct mglu_cpu_chunk *chunk, int64_t token)
{
    const struct mglu_cpu_slot slot = mglu_cpu_slot(chunk, token);

    round_columns(chunk->layer, slot.z, chunk->layer->weights->packed.intermediate_size, slot.z_rounded);
}

/* How many tokens from this one on can be summed at once, up to `most`: 0 when it is not rounded; else most, or 1. */
static int32_t count_tokens(const struct mglu_cpu_chunk *chunk, const void *rounded, int64_t token, int32_t most)
{
    for (int32_t t = 0; t < most; t++) {
        const char *of_token = (const char *)rounded + (size_t)t * chunk->layer->layout.size;
        if (token + t == chunk->tokens || !mglu_cpu_is_rounded(of_token))
            return t > 0;
    }
    return most;
}

/* Sums a block of rows of a matrix with the x of some tokens; for each, where its sums go is set already. */
static void sum_rows(const struct mglu_cpu_layer *layer, const struct mglu_cpu_matrix *matrix, const void *rounded,
                     int64_t row, int32_t rows, struct mglu_cpu_sums *jobs, int32_t tokens)
{
    for (int32_t t = 0; t < tokens; t++) {
        jobs[t].matrix = matrix;
        jobs[t].first_row = row;
        jobs[t].rows = rows;
        jobs[t].tokens = tokens;
        jobs[t].x = (const char *)rounded + (size_t)t * layer->layout.size;
    }
    layer->backend->level->int8->sums[layer->weights->packed.dtype](jobs);
}

static void sum_plain(const struct mglu_cpu_layer *layer, const void *rounded, struct mglu_cpu_block *blocks,
                      int32_t tokens)
{
    const struct mglu_cpu_weights *weights = layer->weights;
    struct mglu_cpu_sums jobs[TOGETHER] = {0};

    for (int32_t t = 0; t < tokens; t++)
        jobs[t].totals = blocks[t].gates[0];
    sum_rows(layer, &weights->weight, rounded, blocks->row, blocks->rows, jobs, tokens);
    for (int32_t t = 0; t < tokens; t++)
        jobs[t].totals = blocks[t].values[0];
    sum_rows(layer, &weights->value, rounded, blocks->row, blocks->rows, jobs, tokens);
}

static void sum_masked(const struct mglu_cpu_layer *layer, const void *rounded, const int32_t *mask_ids,
                       struct mglu_cpu_block *blocks, int32_t tokens)
{
    float totals[TOGETHER][MGLU_CPU_BLOCK_ROWS];
    struct mglu_cpu_sums jobs[TOGETHER];

    for (int32_t t = 0; t < tokens; t++)
        jobs[t] = (struct mglu_cpu_sums){.n = layer->terms,
                                         .mask_ids = layer->desc.top_k ? mask_ids : NULL,
                                         .totals = totals[t],
                                         .gates = blocks[t].gates};
    sum_rows(layer, &layer->weights->weight, rounded, blocks->row, blocks->rows, jobs, tokens);
    for (int32_t t = 0; t < tokens; t++)
        mglu_cpu_split_totals(layer, totals[t], &blocks[t]);
}

int32_t mglu_cpu_project_int8(const struct mglu_cpu_chunk *chunk, int64_t token, int64_t row, int32_t rows)
{
    const struct mglu_cpu_layer *layer = chunk->layer;
    const struct mglu_cpu_slot slot = mglu_cpu_slot(chunk, token);
    const int is_plain = layer->weights->packed.kind == MGLU_KIND_PLAIN;
    const int32_t most = layer->desc.top_k ? 1 : mglu_cpu_together(is_plain ? 0 : layer->terms);
    const int32_t tokens = count_tokens(chunk, slot.x_rounded, token, most);
    struct mglu_cpu_block blocks[TOGETHER];

    if (tokens == 0)
        return mglu_cpu_project_block(chunk, token, row, rows);
    for (int32_t t = 0; t < tokens; t++)
        mglu_cpu_begin_block(layer, row, rows, &blocks[t]);
    if (is_plain)
        sum_plain(layer, slot.x_rounded, blocks, tokens);
    else
        sum_masked(layer, slot.x_rounded, slot.mask_ids, blocks, tokens);
    for (int32_t t = 0; t < tokens; t++)
        mglu_cpu_finish_block(chunk, token + t, &blocks[t]);
    return tokens;
}

int32_t mglu_cpu_down_int8(const struct mglu_cpu_chunk *chunk, int64_t token, int64_t row, int32_t rows)
{
    const struct mglu_cpu_layer *layer = chunk->layer;
    const void *rounded = mglu_cpu_slot(chunk, token).z_rounded;
    const int32_t tokens = count_tokens(chunk, rounded, token, mglu_cpu_together(0));
    float values[TOGETHER][MGLU_CPU_BLOCK_ROWS];
    struct mglu_cpu_sums jobs[TOGETHER] = {0};

    if (tokens == 0)
        return mglu_cpu_down_block(chunk, token, row, rows);
    for (int32_t t = 0; t < tokens; t++)
        jobs[t].totals = values[t];
    sum_rows(layer, &layer->weights->down, rounded, row, rows, jobs, tokens);
    for (int32_t t = 0; t < tokens; t++)
        mglu_cpu_finish_down(chunk, token + t, row, rows, values[t]);
    return tokens;
}
