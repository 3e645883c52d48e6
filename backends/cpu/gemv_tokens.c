/* SPDX-License-Identifier: MIT */
#include "backends/cpu/cpu.h"

/* Projections by GEMV of a block of rows for several tokens at once. */

enum { MOST_TOKENS = MGLU_CPU_GEMV_MOST_TOKENS };

/* The kernels of a batch; NULL: none. What computes a token depends on the size of its batch, not on its place in it.
 */
static const struct mglu_cpu_gemv_tokens *kernels_of(const struct mglu_cpu_chunk *chunk,
                                                     const struct mglu_cpu_gemv_tokens *tokens,
                                                     const struct mglu_cpu_gemv_tokens *fused)
{
    const struct mglu_cpu_gemv_tokens *kernels = fused && chunk->args->batch >= fused->least_batch ? fused : tokens;

    return chunk->args->batch >= kernels->least_batch ? kernels : NULL;
}

/* Equal parts of a chunk, so that of several tokens none is left over: four are two and two. */
static int32_t count_tokens(const struct mglu_cpu_chunk *chunk, int64_t token,
                            const struct mglu_cpu_gemv_tokens *kernels, int32_t n_masks)
{
    const int32_t most = kernels ? kernels->most_tokens[n_masks] : 1;
    const int32_t left = chunk->tokens - (int32_t)token, calls = (left + most - 1) / most;

    return (left + calls - 1) / calls;
}

/* The jobs of a block of rows; their outputs are the caller's to set. */
static void make_jobs(const struct mglu_cpu_matrix *matrix, int64_t row, int32_t rows, int32_t tokens,
                      struct mglu_cpu_gemv *jobs)
{
    for (int32_t t = 0; t < tokens; t++)
        jobs[t] = (struct mglu_cpu_gemv){.matrix = matrix, .first_row = row, .rows = rows, .tokens = tokens};
}

static void sum_plain(const struct mglu_cpu_layer *layer, mglu_cpu_gemv_fn *sum, struct mglu_cpu_gemv *jobs,
                      struct mglu_cpu_block *blocks)
{
    const int32_t tokens = jobs->tokens;

    for (int32_t t = 0; t < tokens; t++)
        jobs[t].totals = blocks[t].gates[0];
    sum(jobs);
    for (int32_t t = 0; t < tokens; t++) {
        jobs[t].matrix = &layer->weights->value;
        jobs[t].totals = blocks[t].values[0];
    }
    sum(jobs);
}

static void sum_masked(const struct mglu_cpu_layer *layer, mglu_cpu_gemv_fn *sum, struct mglu_cpu_gemv *jobs,
                       struct mglu_cpu_block *blocks)
{
    const int32_t tokens = jobs->tokens;
    float totals[MOST_TOKENS][MGLU_CPU_BLOCK_ROWS];

    for (int32_t t = 0; t < tokens; t++) {
        jobs[t].n = layer->plan.terms;
        jobs[t].totals = totals[t];
        jobs[t].gates = blocks[t].gates;
    }
    sum(jobs);
    for (int32_t t = 0; t < tokens; t++)
        mglu_cpu_split_totals(layer, totals[t], &blocks[t]);
}

int32_t mglu_cpu_project_tokens(const struct mglu_cpu_chunk *chunk, int64_t token, int64_t row, int32_t rows)
{
    const struct mglu_cpu_layer *layer = chunk->layer;
    const mglu_packed_weights *packed = &layer->weights->packed;
    const struct mglu_cpu_gemv_tokens *kernels =
        kernels_of(chunk, layer->plan.project_tokens, layer->plan.project_fused);
    const int32_t tokens = count_tokens(chunk, token, kernels, packed->n_masks);
    struct mglu_cpu_gemv jobs[MOST_TOKENS] = {0};
    struct mglu_cpu_block blocks[MOST_TOKENS];

    if (tokens == 1)
        return mglu_cpu_project_block(chunk, token, row, rows);
    make_jobs(&layer->weights->weight, row, rows, tokens, jobs);
    for (int32_t t = 0; t < tokens; t++) {
        mglu_cpu_begin_block(layer, row, rows, &blocks[t]);
        jobs[t].x = mglu_cpu_token_workspace(chunk, token + t).x;
    }
    if (packed->kind == MGLU_KIND_PLAIN)
        sum_plain(layer, kernels->gemv[packed->dtype], jobs, blocks);
    else
        sum_masked(layer, kernels->gemv[packed->dtype], jobs, blocks);
    for (int32_t t = 0; t < tokens; t++)
        mglu_cpu_finish_block(chunk, token + t, &blocks[t]);
    return tokens;
}

int32_t mglu_cpu_down_tokens(const struct mglu_cpu_chunk *chunk, int64_t token, int64_t row, int32_t rows)
{
    const struct mglu_cpu_layer *layer = chunk->layer;
    const struct mglu_cpu_gemv_tokens *kernels = kernels_of(chunk, layer->plan.down_tokens, layer->plan.down_fused);
    const int32_t tokens = count_tokens(chunk, token, kernels, 0);
    struct mglu_cpu_gemv jobs[MOST_TOKENS] = {0};
    float values[MOST_TOKENS][MGLU_CPU_BLOCK_ROWS];

    if (tokens == 1)
        return mglu_cpu_down_block(chunk, token, row, rows);
    make_jobs(&layer->weights->down, row, rows, tokens, jobs);
    for (int32_t t = 0; t < tokens; t++) {
        jobs[t].x = mglu_cpu_token_workspace(chunk, token + t).z;
        jobs[t].totals = values[t];
    }
    kernels->gemv[layer->weights->packed.dtype](jobs);
    for (int32_t t = 0; t < tokens; t++)
        mglu_cpu_finish_down(chunk, token + t, row, rows, values[t]);
    return tokens;
}
