/* SPDX-License-Identifier: MIT */
#include "backends/cpu/cpu.h"
#include "common/core/mask_format.h"

#include <string.h>

/*
 * A forward computes its tokens in chunks. For each chunk: convert and route every token, then project blocks of rows
 * for all tokens while the rows are in the cache, then do the same with the rows of the down-projection.
 *
 * The output of one token never depends on the other tokens, nor on how rows are divided into tasks.
 */

/* Pads a row with zeros to whole groups. */
static void pad_row(void *row, int64_t columns, size_t element_bytes)
{
    size_t padded = (size_t)mglu_format_groups((mglu_index)columns) * MGLU_GROUP_COLUMNS;

    memset((char *)row + (size_t)columns * element_bytes, 0, (padded - (size_t)columns) * element_bytes);
}

static int projects_by_gemm(const struct mglu_cpu_chunk *chunk)
{
    return mglu_cpu_uses_gemm(&chunk->layer->plan, &chunk->layer->plan.project_batches, chunk->args->batch);
}

static void prepare_token(const struct mglu_cpu_chunk *chunk, int64_t token)
{
    const struct mglu_cpu_layer *layer = chunk->layer;
    const mglu_packed_weights *packed = &layer->weights->packed;
    const int stays_bf16 = projects_by_gemm(chunk) ? layer->plan.use_bf16 : layer->plan.gemv_bf16;
    const int64_t h = packed->hidden_size;
    const mglu_input *x = &chunk->args->x;
    const char *from = mglu_cpu_element(x->data, x->byte_offset, x->row_stride, chunk->first_token + token, 0,
                                        mglu_dtype_size(layer->desc.x_dtype));
    struct mglu_cpu_token_workspace own = mglu_cpu_token_workspace(chunk, token);

    if (stays_bf16 && h > 0) {
        memcpy(own.x_bf16, from, (size_t)h * sizeof(uint16_t));
        pad_row(own.x_bf16, h, sizeof(uint16_t));
    }
    if (!stays_bf16 || packed->router.data)
        layer->backend->isa->elementwise->widen[layer->desc.x_dtype](from, own.x, h);
    if (packed->output_size > 0)
        pad_row(own.z, packed->intermediate_size, sizeof(float));
    mglu_cpu_route(chunk, token);
}

static void project(struct mglu_cpu_chunk *chunk)
{
    if (projects_by_gemm(chunk))
        mglu_cpu_project_by_gemm(chunk);
    else
        mglu_cpu_project_by_gemv(chunk);
}

static void project_down(struct mglu_cpu_chunk *chunk)
{
    if (mglu_cpu_uses_gemm(&chunk->layer->plan, &chunk->layer->plan.down_batches, chunk->args->batch))
        mglu_cpu_down_by_gemm(chunk);
    else
        mglu_cpu_down_by_gemv(chunk);
}

mglu_status mglu_cpu_forward(void *backend, void *layer, void *queue, const mglu_forward_args *args)
{
    const struct mglu_cpu_layer *self = layer;
    const mglu_packed_weights *packed = &self->weights->packed;
    struct mglu_cpu_queue own = {0};
    struct mglu_cpu_chunk chunk = {.layer = self, .args = args, .queue = queue ? queue : &own};

    chunk.sum_buffers = mglu_cpu_lay_out_sums(&self->plan, &self->layout, args->batch);
    while (chunk.first_token < args->batch) {
        chunk.tokens = mglu_cpu_next_chunk(&self->plan, args->batch - chunk.first_token);
        mglu_cpu_parallel(&chunk, chunk.tokens, (size_t)packed->hidden_size * sizeof(float), prepare_token);
        project(&chunk);
        if (packed->output_size > 0)
            project_down(&chunk);
        chunk.first_token += chunk.tokens;
    }
    return queue ? MGLU_OK : mglu_cpu_queue_wait(backend, &own);
}
