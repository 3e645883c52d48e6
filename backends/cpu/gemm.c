/* SPDX-License-Identifier: MIT */
#include "backends/cpu/cpu.h"

#include <sched.h>
#include <string.h>

/*
 * Projections by GEMM. Large batches are compute-bound: each block of rows is summed for all tokens of a chunk at once,
 * the totals first and then each mask for the tokens that use it.
 */

enum { BLOCK_ROWS = MGLU_CPU_BLOCK_ROWS, MOST_ROWS = MGLU_CPU_GEMM_MOST_ROWS };

static int32_t tile_rows(const struct mglu_cpu_chunk *chunk)
{
    return chunk->layer->plan.tile_rows;
}

/* Sorts the terms of all tokens by mask; within a mask, tokens stay in order. */
static void sort_by_mask(const struct mglu_cpu_chunk *chunk, struct mglu_cpu_tokens_by_mask *by_mask)
{
    const int32_t terms = chunk->layer->plan.terms, n_masks = chunk->layer->weights->packed.n_masks;
    int32_t next[MGLU_MAX_MASKS] = {0}, position = chunk->tokens;

    by_mask->count = 1 + (n_masks > 0 ? n_masks : 1);
    by_mask->packed_lists = 0;
    by_mask->first[0] = 0;
    for (int32_t token = 0; token < chunk->tokens; token++) {
        by_mask->tokens[token] = token;
        for (int32_t i = 0; i < terms; i++)
            next[mglu_cpu_token_workspace(chunk, token).mask_ids[i]]++;
    }
    for (int32_t list = 1; list < by_mask->count; list++) {
        by_mask->first[list] = position;
        position += next[list - 1];
        next[list - 1] = by_mask->first[list];
    }
    by_mask->first[by_mask->count] = position;
    for (int32_t token = 0; token < chunk->tokens; token++) {
        const struct mglu_cpu_token_workspace own = mglu_cpu_token_workspace(chunk, token);
        for (int32_t i = 0; i < terms; i++) {
            position = next[own.mask_ids[i]]++;
            by_mask->tokens[position] = token;
            by_mask->p[position] = own.p[i];
            by_mask->positions[token * terms + i] = position;
        }
    }
}

/* Divides the first lists into blocks of packed x, after sorting; the others are of all tokens, as the first. */
static void divide_into_blocks(struct mglu_cpu_tokens_by_mask *by_mask, int32_t terms, int32_t lists,
                               const struct mglu_cpu_plan *plan)
{
    const int32_t block = plan->block_tokens;
    int32_t blocks = 0;

    for (int32_t list = 0; list < by_mask->count; list++) {
        by_mask->first_block[list] = list < lists ? blocks : 0;
        if (list < lists)
            blocks += (by_mask->first[list + 1] - by_mask->first[list] + block - 1) / block;
    }
    by_mask->first_block[by_mask->count] = blocks;
    by_mask->packed_lists = mglu_cpu_packs_blocks(plan, terms, lists, by_mask->first[lists], blocks) ? lists : 0;
}

static int32_t list_of_block(const struct mglu_cpu_chunk *chunk, int32_t block)
{
    int32_t list = chunk->by_mask->packed_lists - 1;

    while (chunk->by_mask->first_block[list] > block)
        list--;
    return list;
}

static void pack_block(const struct mglu_cpu_chunk *chunk, int64_t block)
{
    const struct mglu_cpu_plan *plan = &chunk->layer->plan;
    const struct mglu_cpu_tokens_by_mask *by_mask = chunk->by_mask;
    const int32_t list = list_of_block(chunk, (int32_t)block);
    const int32_t first = by_mask->first[list] + ((int32_t)block - by_mask->first_block[list]) * plan->block_tokens;
    const int32_t left = by_mask->first[list + 1] - first;

    chunk->unpacked.pack(&(struct mglu_cpu_pack_x){
        .x = chunk->unpacked.x,
        .x_stride = chunk->layer->layout.size,
        .tokens = by_mask->tokens + first,
        .count = left < plan->block_tokens ? left : plan->block_tokens,
        .words = chunk->unpacked.words,
        .packed = mglu_cpu_packed_block(chunk, (int32_t)block),
    });
}

/* Packs what is multiplied, x or z, for all lists. */
static void pack_tokens(struct mglu_cpu_chunk *chunk, mglu_cpu_pack_x_fn *pack, const void *x, int64_t words)
{
    chunk->unpacked = (struct mglu_cpu_unpacked){pack, x, words};
    if (chunk->by_mask->packed_lists > 0)
        mglu_cpu_parallel(chunk, chunk->by_mask->first_block[chunk->by_mask->count], mglu_cpu_packed_block_bytes(chunk),
                          pack_block);
}

/* All sums of a block of rows. */
static void sum_masks(const struct mglu_cpu_chunk *chunk, int64_t row, int32_t rows, float *sums)
{
    const struct mglu_cpu_layer *layer = chunk->layer;
    const struct mglu_cpu_weights *weights = layer->weights;
    const int is_plain = weights->packed.kind == MGLU_KIND_PLAIN;
    uint32_t not_finite = 0;

    for (int32_t list = 0; list < chunk->by_mask->count; list++) {
        const int32_t first = chunk->by_mask->first[list];
        layer->plan.project_gemm(&(struct mglu_cpu_gemm){
            .matrix = is_plain && list > 0 ? &weights->value : &weights->weight,
            .first_row = row,
            .rows = rows,
            .mask = is_plain || list == 0 ? MGLU_CPU_NO_MASK : list - 1,
            .x = (const char *)mglu_cpu_packed_block(chunk, chunk->by_mask->first_block[list]),
            .x_stride = mglu_cpu_packed_block_bytes(chunk),
            .count = chunk->by_mask->first[list + 1] - first,
            .sums = sums + (size_t)first * (size_t)tile_rows(chunk),
            .not_finite = &not_finite,
        });
    }
    mglu_cpu_mend_sums(chunk, row, not_finite, sums);
}

/* Biases of a mask for a block of rows; zeros where there are none, and beyond the last row. */
static void copy_bias(const struct mglu_cpu_chunk *chunk, const float *bias, int32_t mask, int64_t row, int32_t rows,
                      float *copy)
{
    const int64_t d = chunk->layer->weights->packed.intermediate_size;

    memset(copy, 0, MOST_ROWS * sizeof *copy);
    if (bias)
        memcpy(copy, bias + mask * d + row, (size_t)rows * sizeof *copy);
}

/* From the sums of a block of rows to the terms of the sum over masks, which replace the gates. */
static void make_terms(const struct mglu_cpu_chunk *chunk, int64_t row, int32_t rows, float *sums)
{
    const struct mglu_cpu_layer *layer = chunk->layer;
    const mglu_packed_weights *packed = &layer->weights->packed;
    const struct mglu_cpu_elementwise *kernels = layer->backend->isa->elementwise;
    const struct mglu_cpu_tokens_by_mask *by_mask = chunk->by_mask;
    const int is_plain = packed->kind == MGLU_KIND_PLAIN;
    float gate_bias[MOST_ROWS], value_bias[MOST_ROWS];

    for (int32_t list = 1; list < by_mask->count; list++) {
        const int32_t first = by_mask->first[list];
        float *of_list = sums + (size_t)first * (size_t)tile_rows(chunk);
        copy_bias(chunk, packed->gate_bias, list - 1, row, rows, gate_bias);
        copy_bias(chunk, packed->value_bias, list - 1, row, rows, value_bias);
        kernels->terms(&(struct mglu_cpu_terms){
            .gates = is_plain ? sums : of_list,
            .others = is_plain ? of_list : sums,
            .tokens = is_plain ? NULL : by_mask->tokens + first,
            .p = by_mask->p + first,
            .gate_bias = gate_bias,
            .value_bias = value_bias,
            .count = by_mask->first[list + 1] - first,
            .rows = tile_rows(chunk),
            .activate = kernels->activate[layer->desc.activation],
            .beta = layer->desc.silu_beta,
        });
    }
}

/* Where the sum of the terms of a token is: in place of its first. */
static float *terms_of(const struct mglu_cpu_chunk *chunk, int64_t token, float *sums)
{
    const int is_plain = chunk->layer->weights->packed.kind == MGLU_KIND_PLAIN;
    const int64_t position = is_plain ? token : chunk->by_mask->positions[token * chunk->layer->plan.terms];

    return sums + position * tile_rows(chunk);
}

/* Adds the terms of all tokens, before any of these sums is read: a vector cannot be loaded from stores under way. */
static void add_terms(const struct mglu_cpu_chunk *chunk, int32_t rows, float *sums)
{
    const int32_t terms = chunk->layer->plan.terms;

    for (int64_t token = 0; token < chunk->tokens; token++) {
        float *z = terms_of(chunk, token, sums);
        for (int32_t i = 1; i < terms; i++) {
            const float *term = sums + chunk->by_mask->positions[token * terms + i] * tile_rows(chunk);
            for (int32_t r = 0; r < rows; r++)
                z[r] += term[r];
        }
    }
}

static int32_t rows_left(int64_t row, int64_t rows, int32_t most)
{
    return rows - row < most ? (int32_t)(rows - row) : most;
}

/*
 * Takes a buffer for the sums of a task, by preference the one that this thread had before: threads differ in the upper
 * bits of their stack's address. Where all are taken it waits for another task, none of which waits itself.
 */
static int32_t take_buffer(const struct mglu_cpu_chunk *chunk)
{
    const int32_t count = chunk->sum_buffers.count;
    uint64_t taken = atomic_load_explicit(chunk->taken_buffers, memory_order_relaxed);
    const uint64_t all = ~(uint64_t)0 >> (64 - count), preferred = (uintptr_t)&taken >> 16;

    for (;;) {
        const uint64_t left = all & ~taken, from_preferred = left & ~(uint64_t)0 << preferred % (uint64_t)count;
        if (!left) {
            sched_yield();
            taken = atomic_load_explicit(chunk->taken_buffers, memory_order_relaxed);
            continue;
        }
        const int32_t index = __builtin_ctzll(from_preferred ? from_preferred : left);
        if (atomic_compare_exchange_weak_explicit(chunk->taken_buffers, &taken, taken | (uint64_t)1 << index,
                                                  memory_order_acquire, memory_order_relaxed))
            return index;
    }
}

static void give_buffer(const struct mglu_cpu_chunk *chunk, int32_t index)
{
    atomic_fetch_and_explicit(chunk->taken_buffers, ~((uint64_t)1 << index), memory_order_release);
}

/* Whether the sums of a token are those of its x, or z: not where integers were summed and it is not quantised. */
static int has_sums(const struct mglu_cpu_chunk *chunk, const void *quantised)
{
    return !chunk->layer->plan.gemm_int8 || mglu_cpu_is_quantised(quantised);
}

static void project_rows(const struct mglu_cpu_chunk *chunk, int64_t row, int32_t rows, float *sums)
{
    if (chunk->layer->plan.gemm_int8)
        mglu_cpu_project_sums_int8(chunk, row, rows, sums);
    else
        sum_masks(chunk, row, rows, sums);
    make_terms(chunk, row, rows, sums);
    add_terms(chunk, rows, sums);
    for (int64_t token = 0; token < chunk->tokens; token++) {
        if (has_sums(chunk, mglu_cpu_token_workspace(chunk, token).quantised_x))
            mglu_cpu_finish_rows(chunk, token, row, rows, terms_of(chunk, token, sums));
        else
            for (int32_t part = 0; part < rows; part += BLOCK_ROWS)
                mglu_cpu_project_block(chunk, token, row + part, rows_left(part, rows, BLOCK_ROWS));
    }
}

static void sum_down(const struct mglu_cpu_chunk *chunk, int64_t row, int32_t rows, float *sums)
{
    const struct mglu_cpu_layer *layer = chunk->layer;
    uint32_t not_finite = 0;

    layer->plan.down_gemm(&(struct mglu_cpu_gemm){
        .matrix = &layer->weights->down,
        .first_row = row,
        .rows = rows,
        .mask = MGLU_CPU_NO_MASK,
        .x = (const char *)mglu_cpu_packed_block(chunk, 0),
        .x_stride = mglu_cpu_packed_block_bytes(chunk),
        .count = chunk->tokens,
        .sums = sums,
        .not_finite = &not_finite,
    });
    mglu_cpu_mend_down(chunk, row, not_finite, sums);
}

static void down_block(const struct mglu_cpu_chunk *chunk, int64_t token, int64_t row, int32_t rows, float *sums)
{
    if (has_sums(chunk, mglu_cpu_token_workspace(chunk, token).quantised_z))
        mglu_cpu_finish_down(chunk, token, row, rows, sums + token * tile_rows(chunk));
    else
        mglu_cpu_down_block(chunk, token, row, rows);
}

static void down_rows(const struct mglu_cpu_chunk *chunk, int64_t row, int32_t rows, float *sums)
{
    if (chunk->layer->plan.gemm_int8)
        mglu_cpu_down_sums_int8(chunk, row, rows, sums);
    else
        sum_down(chunk, row, rows, sums);
    for (int64_t token = 0; token < chunk->tokens; token++)
        for (int32_t part = 0; part < rows; part += BLOCK_ROWS)
            down_block(chunk, token, row + part, rows_left(part, rows, BLOCK_ROWS), sums + part);
}

static void project_task(const struct mglu_cpu_chunk *chunk, int64_t task)
{
    const int32_t most = (int32_t)chunk->layer->plan.gemm_project.rows;
    const int32_t rows = rows_left(task * most, chunk->layer->weights->packed.intermediate_size, most);
    const int32_t buffer = take_buffer(chunk);

    for (int32_t row = 0; row < rows; row += tile_rows(chunk))
        project_rows(chunk, task * most + row, rows_left(row, rows, tile_rows(chunk)),
                     mglu_cpu_sum_buffer(chunk, buffer));
    give_buffer(chunk, buffer);
}

static void down_task(const struct mglu_cpu_chunk *chunk, int64_t task)
{
    const int32_t most = (int32_t)chunk->layer->plan.gemm_down.rows;
    const int32_t rows = rows_left(task * most, chunk->layer->weights->packed.output_size, most);
    const int32_t buffer = take_buffer(chunk);

    for (int32_t row = 0; row < rows; row += tile_rows(chunk))
        down_rows(chunk, task * most + row, rows_left(row, rows, tile_rows(chunk)), mglu_cpu_sum_buffer(chunk, buffer));
    give_buffer(chunk, buffer);
}

/* All rows of a matrix for all tokens of the chunk, which are sorted. */
static void for_each_task(struct mglu_cpu_chunk *chunk, const struct mglu_cpu_tasks *tasks,
                          void (*task)(const struct mglu_cpu_chunk *chunk, int64_t index))
{
    _Atomic uint64_t taken_buffers = 0;

    chunk->taken_buffers = &taken_buffers;
    mglu_cpu_parallel(chunk, tasks->count, tasks->bytes * (size_t)chunk->tokens, task);
    chunk->taken_buffers = NULL;
}

void mglu_cpu_project_by_gemm(struct mglu_cpu_chunk *chunk)
{
    const struct mglu_cpu_plan *plan = &chunk->layer->plan;
    struct mglu_cpu_tokens_by_mask by_mask;

    mglu_cpu_quantise_x(chunk);
    sort_by_mask(chunk, &by_mask);
    chunk->by_mask = &by_mask;
    if (plan->pack_x) {
        const struct mglu_cpu_token_workspace own = mglu_cpu_token_workspace(chunk, 0);
        divide_into_blocks(&by_mask, plan->terms, plan->routed_masks ? by_mask.count : 1, plan);
        pack_tokens(chunk, plan->pack_x,
                    plan->gemm_int8  ? own.quantised_x
                    : plan->use_bf16 ? (const void *)own.x_bf16
                                     : own.x,
                    plan->project_words);
    }
    for_each_task(chunk, &plan->gemm_project, project_task);
    chunk->by_mask = NULL;
}

void mglu_cpu_down_by_gemm(struct mglu_cpu_chunk *chunk)
{
    const struct mglu_cpu_plan *plan = &chunk->layer->plan;
    struct mglu_cpu_tokens_by_mask by_mask;

    mglu_cpu_quantise_z(chunk);
    sort_by_mask(chunk, &by_mask);
    chunk->by_mask = &by_mask;
    if (plan->pack_x) {
        const struct mglu_cpu_token_workspace own = mglu_cpu_token_workspace(chunk, 0);
        divide_into_blocks(&by_mask, 0, 1, plan);
        pack_tokens(chunk, plan->pack_z, plan->gemm_int8 ? (const void *)own.quantised_z : own.z, plan->down_words);
    }
    for_each_task(chunk, &plan->gemm_down, down_task);
    chunk->by_mask = NULL;
}
