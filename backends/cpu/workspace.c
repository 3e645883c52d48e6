/* SPDX-License-Identifier: MIT */
#include "backends/cpu/cpu.h"
#include "common/core/mask_format.h"

/* The layout of the workspace of a forward: the data of each token, then the buffers of GEMM's sums. */

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
    const int needs_f32 = !plan->gemv_bf16 || !plan->use_bf16 || packed->router.data;
    struct mglu_cpu_workspace_layout layout = {0};

    layout.x = mglu_cpu_reserve(&layout.size, needs_f32 ? columns * sizeof(float) : 0);
    layout.x_bf16 = mglu_cpu_reserve(&layout.size, plan->gemv_bf16 || plan->use_bf16 ? columns * sizeof(uint16_t) : 0);
    layout.quantised_x = mglu_cpu_reserve(&layout.size, plan->use_int8 ? quantised_bytes(packed->hidden_size) : 0);
    layout.mask_ids = mglu_cpu_reserve(&layout.size, (size_t)plan->terms * sizeof(int32_t));
    layout.p = mglu_cpu_reserve(&layout.size, (size_t)plan->terms * sizeof(float));
    layout.z =
        mglu_cpu_reserve(&layout.size, packed->output_size > 0 ? padded(packed->intermediate_size) * sizeof(float) : 0);
    layout.quantised_z = mglu_cpu_reserve(
        &layout.size, plan->use_int8 && packed->output_size > 0 ? quantised_bytes(packed->intermediate_size) : 0);
    return layout;
}

/* Blocks of packed x: of all tokens, and with routing of the tokens of each mask, of which the last may be short. */
static size_t count_blocks(const struct mglu_cpu_plan *plan, size_t tokens)
{
    const size_t block = (size_t)plan->block_tokens, masks = (size_t)plan->routed_masks;

    return (tokens + block - 1) / block + (masks ? tokens * (size_t)plan->terms / block + masks : 0);
}

/* Of x, or of z later on. */
static size_t packed_bytes(const struct mglu_cpu_plan *plan, size_t tokens, int projects, int projects_down)
{
    const size_t block = (size_t)plan->block_tokens;
    const size_t of_x = projects ? count_blocks(plan, tokens) * (size_t)plan->project_words : 0;
    const size_t of_z = projects_down ? (tokens + block - 1) / block * (size_t)plan->down_words : 0;

    return plan->pack_x ? (of_x > of_z ? of_x : of_z) * block * sizeof(float) : 0;
}

/* As many buffers as tasks can run at a time, each for the sums of a chunk; none where the batch is too small. */
struct mglu_cpu_sum_buffers mglu_cpu_lay_out_sums(const struct mglu_cpu_plan *plan,
                                                  const struct mglu_cpu_workspace_layout *layout, int64_t batch)
{
    const size_t tokens = (size_t)(batch < plan->chunk_tokens ? batch : plan->chunk_tokens);
    const int64_t project_tasks = batch >= plan->project_batches.least ? plan->gemm_project.count : 0;
    const int64_t down_tasks = batch >= plan->down_batches.least ? plan->gemm_down.count : 0;
    const int64_t tasks = project_tasks > down_tasks ? project_tasks : down_tasks;
    const size_t sums = project_tasks > 0 ? 1 + (size_t)plan->terms : 1, block = (size_t)plan->block_tokens;
    struct mglu_cpu_sum_buffers buffers = {
        .offset = tokens * layout->size,
        .count = tasks < MGLU_CPU_MOST_SUM_BUFFERS ? (int32_t)tasks : MGLU_CPU_MOST_SUM_BUFFERS,
        .bytes = (tokens * sums + block - 1) * (size_t)plan->tile_rows * sizeof(float),
    };

    buffers.packed = buffers.size = buffers.offset + (size_t)buffers.count * buffers.bytes;
    buffers.size += packed_bytes(plan, tokens, project_tasks > 0, down_tasks > 0);
    return buffers;
}

size_t mglu_cpu_workspace_size(void *backend, int32_t ordinal, const mglu_layer_plan *plan, int64_t batch)
{
    const struct mglu_cpu_isa *isa = ((const struct mglu_cpu_backend *)backend)->isa;
    const struct mglu_cpu_plan made = mglu_cpu_make_plan(isa, plan->shape, &plan->desc);
    const struct mglu_cpu_workspace_layout layout = mglu_cpu_lay_out_workspace(plan->shape, &made);

    return mglu_cpu_lay_out_sums(&made, &layout, batch).size;
}

float *mglu_cpu_sum_buffer(const struct mglu_cpu_chunk *chunk, int32_t index)
{
    char *buffers = (char *)chunk->args->workspace + chunk->sum_buffers.offset;

    return (float *)(void *)(buffers + (size_t)index * chunk->sum_buffers.bytes);
}

size_t mglu_cpu_packed_block_bytes(const struct mglu_cpu_chunk *chunk)
{
    return (size_t)chunk->unpacked.words * (size_t)chunk->layer->plan.block_tokens * sizeof(float);
}

float *mglu_cpu_packed_block(const struct mglu_cpu_chunk *chunk, int32_t block)
{
    char *blocks = (char *)chunk->args->workspace + chunk->sum_buffers.packed;

    return (float *)(void *)(blocks + (size_t)block * mglu_cpu_packed_block_bytes(chunk));
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
