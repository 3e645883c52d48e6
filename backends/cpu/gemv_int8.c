/* SPDX-License-Identifier: MIT */
#include "backends/cpu/cpu.h"
#include "common/core/mask_format.h"

/*
 * Layers whose x and z may be quantised to 8 bits. Blocks of rows are summed for several tokens at once where these use
 * the same masks. Tokens that cannot be quantised use the f32 kernels.
 */

enum { MOST_TOKENS = MGLU_CPU_INT8_MOST_TOKENS };

static void quantise_row(const struct mglu_cpu_layer *layer, const float *x, int64_t columns, void *quantised)
{
    layer->backend->isa->int8->quantise_x(x, (int64_t)mglu_format_groups((mglu_index)columns), quantised);
}

static void quantise_x_of(const struct mglu_cpu_chunk *chunk, int64_t token)
{
    const struct mglu_cpu_token_workspace own = mglu_cpu_token_workspace(chunk, token);

    quantise_row(chunk->layer, own.x, chunk->layer->weights->packed.hidden_size, own.quantised_x);
}

static void quantise_z_of(const struct mglu_cpu_chunk *chunk, int64_t token)
{
    const struct mglu_cpu_token_workspace own = mglu_cpu_token_workspace(chunk, token);

    quantise_row(chunk->layer, own.z, chunk->layer->weights->packed.intermediate_size, own.quantised_z);
}

static void quantise(const struct mglu_cpu_chunk *chunk, int64_t columns,
                     void (*row)(const struct mglu_cpu_chunk *chunk, int64_t token))
{
    if (chunk->layer->plan.use_int8)
        mglu_cpu_parallel(chunk, chunk->tokens, (size_t)columns * sizeof(float), row);
}

void mglu_cpu_quantise_x(const struct mglu_cpu_chunk *chunk)
{
    quantise(chunk, chunk->layer->weights->packed.hidden_size, quantise_x_of);
}

void mglu_cpu_quantise_z(const struct mglu_cpu_chunk *chunk)
{
    quantise(chunk, chunk->layer->weights->packed.intermediate_size, quantise_z_of);
}

/* How many tokens from this one on one call can sum: 0 when it is not quantised; else `most`, or 1. */
static int32_t count_tokens(const struct mglu_cpu_chunk *chunk, const void *quantised, int64_t token, int32_t most)
{
    for (int32_t t = 0; t < most; t++) {
        const char *of_token = (const char *)quantised + (size_t)t * chunk->layer->layout.size;
        if (token + t == chunk->tokens || !mglu_cpu_is_quantised(of_token))
            return t > 0;
    }
    return most;
}

/* Sums a block of rows of a matrix with the x of some tokens; the outputs of each are already set. */
static void sum_block_rows(const struct mglu_cpu_layer *layer, const struct mglu_cpu_matrix *matrix,
                           const void *quantised, int64_t row, int32_t rows, struct mglu_cpu_gemv *jobs, int32_t tokens)
{
    for (int32_t t = 0; t < tokens; t++) {
        jobs[t].matrix = matrix;
        jobs[t].first_row = row;
        jobs[t].rows = rows;
        jobs[t].tokens = tokens;
        jobs[t].x = (const char *)quantised + (size_t)t * layer->layout.size;
    }
    layer->backend->isa->int8->gemv[layer->weights->packed.dtype](jobs);
}

static void sum_plain(const struct mglu_cpu_layer *layer, const void *quantised, struct mglu_cpu_block *blocks,
                      int32_t tokens)
{
    const struct mglu_cpu_weights *weights = layer->weights;
    struct mglu_cpu_gemv jobs[MOST_TOKENS] = {0};

    for (int32_t t = 0; t < tokens; t++)
        jobs[t].totals = blocks[t].gates[0];
    sum_block_rows(layer, &weights->weight, quantised, blocks->row, blocks->rows, jobs, tokens);
    for (int32_t t = 0; t < tokens; t++)
        jobs[t].totals = blocks[t].values[0];
    sum_block_rows(layer, &weights->value, quantised, blocks->row, blocks->rows, jobs, tokens);
}

static void sum_masked(const struct mglu_cpu_layer *layer, const void *quantised, const int32_t *mask_ids,
                       struct mglu_cpu_block *blocks, int32_t tokens)
{
    float totals[MOST_TOKENS][MGLU_CPU_BLOCK_ROWS];
    struct mglu_cpu_gemv jobs[MOST_TOKENS];

    for (int32_t t = 0; t < tokens; t++)
        jobs[t] = (struct mglu_cpu_gemv){.n = layer->plan.terms,
                                         .mask_ids = layer->desc.top_k ? mask_ids : NULL,
                                         .totals = totals[t],
                                         .gates = blocks[t].gates};
    sum_block_rows(layer, &layer->weights->weight, quantised, blocks->row, blocks->rows, jobs, tokens);
    for (int32_t t = 0; t < tokens; t++)
        mglu_cpu_split_totals(layer, totals[t], &blocks[t]);
}

int32_t mglu_cpu_project_int8(const struct mglu_cpu_chunk *chunk, int64_t token, int64_t row, int32_t rows)
{
    const struct mglu_cpu_layer *layer = chunk->layer;
    const struct mglu_cpu_token_workspace own = mglu_cpu_token_workspace(chunk, token);
    const int is_plain = layer->weights->packed.kind == MGLU_KIND_PLAIN;
    const int32_t tokens = count_tokens(chunk, own.quantised_x, token, layer->plan.int8_tokens);
    struct mglu_cpu_block blocks[MOST_TOKENS];

    if (tokens == 0)
        return mglu_cpu_project_block(chunk, token, row, rows);
    for (int32_t t = 0; t < tokens; t++)
        mglu_cpu_begin_block(layer, row, rows, &blocks[t]);
    if (is_plain)
        sum_plain(layer, own.quantised_x, blocks, tokens);
    else
        sum_masked(layer, own.quantised_x, own.mask_ids, blocks, tokens);
    for (int32_t t = 0; t < tokens; t++)
        mglu_cpu_finish_block(chunk, token + t, &blocks[t]);
    return tokens;
}

int32_t mglu_cpu_down_int8(const struct mglu_cpu_chunk *chunk, int64_t token, int64_t row, int32_t rows)
{
    const struct mglu_cpu_layer *layer = chunk->layer;
    const void *quantised = mglu_cpu_token_workspace(chunk, token).quantised_z;
    const int32_t tokens = count_tokens(chunk, quantised, token, mglu_cpu_int8_tokens_per_call(0));
    float values[MOST_TOKENS][MGLU_CPU_BLOCK_ROWS];
    struct mglu_cpu_gemv jobs[MOST_TOKENS] = {0};

    if (tokens == 0)
        return mglu_cpu_down_block(chunk, token, row, rows);
    for (int32_t t = 0; t < tokens; t++)
        jobs[t].totals = values[t];
    sum_block_rows(layer, &layer->weights->down, quantised, row, rows, jobs, tokens);
    for (int32_t t = 0; t < tokens; t++)
        mglu_cpu_finish_down(chunk, token + t, row, rows, values[t]);
    return tokens;
}
