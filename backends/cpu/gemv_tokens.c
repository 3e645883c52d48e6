/* SPDX-License-Identifier: MIT */
#include "backends/cpu/cpu.h"

/* Projections by GEMV of a block of rows for two or three tokens at once; a token that is left over is summed alone. */

enum { MOST_TOKENS = MGLU_CPU_GEMV_MOST_TOKENS };

/* So that of more than one token none is left over: four are two and two. */
static int32_t count_tokens(const struct mglu_cpu_chunk *chunk, int64_t token)
{
    const int64_t left = chunk->tokens - token;

    return left == 4 ? 2 : left < MOST_TOKENS ? (int32_t)left : MOST_TOKENS;
}

/* The jobs of a block of rows; their outputs are the caller's to set. */
static void make_jobs(const struct mglu_cpu_matrix *matrix, int64_t row, int32_t rows, int32_t tokens,
                      struct mglu_cpu_gemv *jobs)
{
    for (int32_t t = 0; t < tokens; t++)
        jobs[t] = (struct mglu_cpu_gemv){.matrix = matrix, .first_row = row, .rows = rows, .tokens = tokens};
}

static void sum_plain(const struct mglu_cpu_layer *layer, struct mglu_cpu_gemv *jobs, struct mglu_cpu_block *blocks)
{
    const int32_t tokens = jobs->tokens;

    for (int32_t t = 0; t < tokens; t++)
        jobs[t].totals = blocks[t].gates[0];
    layer->plan.project_tokens(jobs);
    for (int32_t t = 0; t < tokens; t++) {
        jobs[t].matrix = &layer->weights->value;
        jobs[t].totals = blocks[t].values[0];
    }
    layer->plan.project_tokens(jobs);
}

static void sum_masked(const struct mglu_cpu_layer *layer, const int32_t *mask_ids, struct mglu_cpu_gemv *jobs,
                       struct mglu_cpu_block *blocks)
{
    const int32_t tokens = jobs->tokens;
    float totals[MOST_TOKENS][MGLU_CPU_BLOCK_ROWS];

    for (int32_t t = 0; t < tokens; t++) {
        jobs[t].n = layer->plan.terms;
        jobs[t].mask_ids = mask_ids;
        jobs[t].totals = totals[t];
        jobs[t].gates = blocks[t].gates;
    }
    layer->plan.project_tokens(jobs);
    for (int32_t t = 0; t < tokens; t++)
        mglu_cpu_split_totals(layer, totals[t], &blocks[t]);
}

int32_t mglu_cpu_project_tokens(const struct mglu_cpu_chunk *chunk, int64_t token, int64_t row, int32_t rows)
{
    const struct mglu_cpu_layer *layer = chunk->layer;
    const int32_t tokens = count_tokens(chunk, token);
    struct mglu_cpu_gemv jobs[MOST_TOKENS] = {0};
    struct mglu_cpu_block blocks[MOST_TOKENS];

    if (tokens == 1)
        return mglu_cpu_project_block(chunk, token, row, rows);
    make_jobs(&layer->weights->weight, row, rows, tokens, jobs);
    for (int32_t t = 0; t < tokens; t++) {
        mglu_cpu_begin_block(layer, row, rows, &blocks[t]);
        jobs[t].x = mglu_cpu_token_workspace(chunk, token + t).x;
    }
    if (layer->weights->packed.kind == MGLU_KIND_PLAIN)
        sum_plain(layer, jobs, blocks);
    else
        sum_masked(layer, mglu_cpu_token_workspace(chunk, token).mask_ids, jobs, blocks);
    for (int32_t t = 0; t < tokens; t++)
        mglu_cpu_finish_block(chunk, token + t, &blocks[t]);
    return tokens;
}

int32_t mglu_cpu_down_tokens(const struct mglu_cpu_chunk *chunk, int64_t token, int64_t row, int32_t rows)
{
    const struct mglu_cpu_layer *layer = chunk->layer;
    const int32_t tokens = count_tokens(chunk, token);
    struct mglu_cpu_gemv jobs[MOST_TOKENS] = {0};
    float values[MOST_TOKENS][MGLU_CPU_BLOCK_ROWS];

    if (tokens == 1)
        return mglu_cpu_down_block(chunk, token, row, rows);
    make_jobs(&layer->weights->down, row, rows, tokens, jobs);
    for (int32_t t = 0; t < tokens; t++) {
        jobs[t].x = mglu_cpu_token_workspace(chunk, token + t).z;
        jobs[t].totals = values[t];
    }
    layer->plan.down_tokens(jobs);
    for (int32_t t = 0; t < tokens; t++)
        mglu_cpu_finish_down(chunk, token + t, row, rows, values[t]);
    return tokens;
}
