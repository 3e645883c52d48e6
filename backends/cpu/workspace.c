/* SPDX-License-Identifier: MIT */
#include "backends/cpu/cpu.h"
#include "common/core/mask_format.h"

/* The layout of the workspace of a forward: the data of each token, then the buffers of GEMM's sums. */

enum { WORKSPACE_ALIGNMENT = 64 };

/* Appends `bytes` to a layout and returns their offset. */
static size_t reserve(struct mglu_cpu_workspace_layout *layout, size_t bytes)
{
    size_t offset = layout->size;

    layout->size += (bytes + WORKSPACE_ALIGNMENT - 1) / WORKSPACE_ALIGNMENT * WORKSPACE_ALIGNMENT;
    return offset;
}

static size_t padded(int64_t columns)
{
    return (size_t)mglu_format_groups((mglu_index)columns) * MGLU_GROUP_COLUMNS;
}

static size_t quantised_bytes(int64_t columns)
{
    return mglu_cpu_quantised_bytes((int64_t)mglu_format_groups((mglu_index)columns));
}

struct mglu_cpu_workspace_layout mglu_cpu_lay_out_workspace(const mglu_packed_weights *packed,
                                                            const struct mglu_cpu_plan *plan)
{
    size_t columns = padded(packed->hidden_size);
    struct mglu_cpu_workspace_layout layout = {0};

    layout.x = reserve(&layout, !plan->use_bf16 || packed->router.data ? columns * sizeof(float) : 0);
    layout.x_bf16 = reserve(&layout, plan->use_bf16 ? columns * sizeof(uint16_t) : 0);
    layout.quantised_x = reserve(&layout, plan->use_int8 ? quantised_bytes(packed->hidden_size) : 0);
    layout.mask_ids = reserve(&layout, (size_t)plan->terms * sizeof(int32_t));
    layout.p = reserve(&layout, (size_t)plan->terms * sizeof(float));
    layout.z = reserve(&layout, packed->output_size > 0 ? padded(packed->intermediate_size) * sizeof(float) : 0);
    layout.quantised_z =
        reserve(&layout, plan->use_int8 && packed->output_size > 0 ? quantised_bytes(packed->intermediate_size) : 0);
    return layout;
}

size_t mglu_cpu_layer_workspace_size(void *backend, const void *layer)
{
    const struct mglu_cpu_layer *self = layer;

    return (size_t)self->plan.chunk_tokens * self->layout.size +
           (size_t)self->plan.sum_buffers * self->plan.sum_buffer_bytes;
}

float *mglu_cpu_sum_buffer(const struct mglu_cpu_chunk *chunk, int32_t index)
{
    const struct mglu_cpu_layer *layer = chunk->layer;
    char *buffers = (char *)chunk->args->workspace + (size_t)layer->plan.chunk_tokens * layer->layout.size;

    return (float *)(void *)(buffers + (size_t)index * layer->plan.sum_buffer_bytes);
}

struct mglu_cpu_token_workspace mglu_cpu_token_workspace(const struct mglu_cpu_chunk *chunk, int64_t token)
{
    const struct mglu_cpu_workspace_layout *layout = &chunk->layer->layout;
    char *start = (char *)chunk->args->workspace + (size_t)token * layout->size;

    return (struct mglu_cpu_token_workspace){
        .x = (float *)(void *)(start + layout->x),
        .x_bf16 = (uint16_t *)(void *)(start + layout->x_bf16),
        .quantised_x = start + layout->quantised_x,
        .mask_ids = (int32_t *)(void *)(start + layout->mask_ids),
        .p = (float *)(void *)(start + layout->p),
        .z = (float *)(void *)(start + layout->z),
        .quantised_z = start + layout->quantised_z,
    };
}
