/* SPDX-License-Identifier: MIT */
#include "backends/cpu/cpu.h"

#include <math.h>

/*
 * Numbers in parts of bf16 have no sums where a weight or an x is not finite, or so large that a part is infinite.
 * These sums are computed anew by GEMV: of one row and one token, so that all others keep their bits.
 */

enum { BLOCK_ROWS = MGLU_CPU_BLOCK_ROWS };

static int32_t tile_rows(const struct mglu_cpu_chunk *chunk)
{
    return chunk->layer->plan.tile_rows;
}

/* Replaces the sums of a row and a token. */
static void sum_row_anew(const struct mglu_cpu_chunk *chunk, int64_t token, int64_t row, float *sums)
{
    const struct mglu_cpu_layer *layer = chunk->layer;
    const struct mglu_cpu_tokens_by_mask *by_mask = chunk->by_mask;
    const struct mglu_cpu_token_workspace own = mglu_cpu_token_workspace(chunk, token);
    const int is_plain = layer->weights->packed.kind == MGLU_KIND_PLAIN;
    const int32_t terms = layer->plan.terms;
    float gates[MGLU_MAX_MASKS][BLOCK_ROWS];
    struct mglu_cpu_gemv job = {.matrix = &layer->weights->weight,
                                .first_row = row,
                                .rows = 1,
                                .n = is_plain ? 0 : terms,
                                .mask_ids = own.mask_ids,
                                .x = own.x,
                                .totals = sums + token * tile_rows(chunk),
                                .gates = gates};

    layer->plan.project_gemv(&job);
    for (int32_t i = 0; i < job.n; i++)
        sums[by_mask->positions[token * terms + i] * tile_rows(chunk)] = gates[i][0];
    if (!is_plain)
        return;
    job.matrix = &layer->weights->value;
    job.totals = sums + (by_mask->first[1] + token) * tile_rows(chunk);
    layer->plan.project_gemv(&job);
}

static int are_finite(const struct mglu_cpu_chunk *chunk, int64_t token, const float *sums)
{
    const int32_t terms = chunk->layer->plan.terms;
    int finite = isfinite(sums[token * tile_rows(chunk)]);

    for (int32_t i = 0; i < terms; i++)
        finite &= isfinite(sums[chunk->by_mask->positions[token * terms + i] * tile_rows(chunk)]);
    return finite;
}

void mglu_cpu_mend_sums(const struct mglu_cpu_chunk *chunk, int64_t row, uint32_t rows, float *sums)
{
    for (; rows; rows &= rows - 1) {
        const int r = __builtin_ctz(rows);
        for (int64_t token = 0; token < chunk->tokens; token++)
            if (!are_finite(chunk, token, sums + r))
                sum_row_anew(chunk, token, row + r, sums + r);
    }
}

void mglu_cpu_mend_down(const struct mglu_cpu_chunk *chunk, int64_t row, uint32_t rows, float *sums)
{
    for (; rows; rows &= rows - 1) {
        const int r = __builtin_ctz(rows);
        for (int64_t token = 0; token < chunk->tokens; token++) {
            float *sum = sums + token * tile_rows(chunk) + r;
            if (!isfinite(*sum))
                chunk->layer->plan.down_gemv(&(struct mglu_cpu_gemv){.matrix = &chunk->layer->weights->down,
                                                                     .first_row = row + r,
                                                                     .rows = 1,
                                                                     .x = mglu_cpu_token_workspace(chunk, token).z,
                                                                     .totals = sum});
        }
    }
}
