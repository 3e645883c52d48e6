/* SPDX-License-Identifier: MIT */
#include "backends/cpu/cpu.h"
#include "common/core/mask_format.h"

/* What a layer is, and where a token's data lie in its workspace. */

/* Most tokens that one reading of the weights serves, where tiles do not. */
enum { CHUNK_TOKENS = 32, WORKSPACE_ALIGNMENT = 64 };

/* Columns from which on int8 kernels are used for large batches too; measured on a Zen 3. */
enum { LEAST_INT8_COLUMNS = 512 };

mglu_status mglu_cpu_supports(void *backend, int32_t ordinal, const mglu_layer_plan *plan)
{
    return MGLU_OK;
}

/* Appends `bytes` to a slot and returns their offset. */
static size_t reserve(struct mglu_cpu_slot_layout *layout, size_t bytes)
{
    size_t offset = layout->size;

    layout->size += (bytes + WORKSPACE_ALIGNMENT - 1) / WORKSPACE_ALIGNMENT * WORKSPACE_ALIGNMENT;
    return offset;
}

static size_t padded(int64_t columns)
{
    return (size_t)mglu_format_groups((mglu_index)columns) * MGLU_GROUP_COLUMNS;
}

static size_t rounded_bytes(int64_t columns)
{
    return mglu_cpu_rounded_bytes((int64_t)mglu_format_groups((mglu_index)columns));
}

static struct mglu_cpu_slot_layout slot_layout(const struct mglu_cpu_layer *layer)
{
    const mglu_packed_weights *packed = &layer->weights->packed;
    size_t columns = padded(packed->hidden_size);
    struct mglu_cpu_slot_layout layout = {0};

    layout.x = reserve(&layout, !layer->use_bf16 || packed->router.data ? columns * sizeof(float) : 0);
    layout.x_bf16 = reserve(&layout, layer->use_bf16 ? columns * sizeof(uint16_t) : 0);
    layout.x_rounded = reserve(&layout, layer->use_int8 ? rounded_bytes(packed->hidden_size) : 0);
    layout.mask_ids = reserve(&layout, (size_t)layer->terms * sizeof(int32_t));
    layout.p = reserve(&layout, (size_t)layer->terms * sizeof(float));
    layout.z = reserve(&layout, packed->output_size > 0 ? padded(packed->intermediate_size) * sizeof(float) : 0);
    layout.z_rounded =
        reserve(&layout, layer->use_int8 && packed->output_size > 0 ? rounded_bytes(packed->intermediate_size) : 0);
    return layout;
}

/* Trees are faster than the order that all instruction sets share. */
static int takes_trees(const struct mglu_cpu_layer *layer)
{
    return layer->backend->level->trees && !layer->use_bf16 && !(layer->desc.flags & MGLU_LAYER_REPRODUCIBLE) &&
           layer->terms >= MGLU_CPU_LEAST_TREES && (layer->desc.top_k == 0 || layer->terms < MGLU_CPU_TREES_OF_ALL);
}

static mglu_cpu_sums_fn *choose_sums(const struct mglu_cpu_layer *layer)
{
    const struct mglu_cpu_level *level = layer->backend->level;
    const mglu_dtype dtype = layer->weights->packed.dtype;

    if (layer->use_bf16)
        return level->sums_bf16;
    return takes_trees(layer) ? level->trees[dtype] : level->kernels->sums[dtype];
}

/* Against trees, tiles gain with the tokens and lose with the masks: trees take four at a time. Measured on a Zen 3. */
static int64_t choose_large_batch(const struct mglu_cpu_layer *layer)
{
    const int64_t tokens = takes_trees(layer) ? 2 * (int64_t)layer->terms : 0;

    if (tokens == 2 * MGLU_MAX_MASKS)
        return INT64_MAX;
    return tokens > MGLU_CPU_LARGE_BATCH ? tokens : MGLU_CPU_LARGE_BATCH;
}

/*
 * Tiles sum in another order than the other kernels, so layers whose bits must not depend on the batch do without. Int8
 * kernels are no slower than tiles of f32, but where rows are short and most of the time goes into their ends.
 */
static mglu_cpu_tiles_fn *choose_tiles(const struct mglu_cpu_layer *layer)
{
    const mglu_packed_weights *packed = &layer->weights->packed;
    const struct mglu_cpu_level *level = layer->backend->level;

    if (layer->desc.flags & MGLU_LAYER_REPRODUCIBLE || packed->hidden_size > MGLU_CPU_TILE_COLUMNS ||
        (packed->output_size > 0 && packed->intermediate_size > MGLU_CPU_TILE_COLUMNS))
        return NULL;
    if (layer->use_int8 && packed->hidden_size >= LEAST_INT8_COLUMNS)
        return NULL;
    return layer->use_bf16 ? level->tiles_bf16 : level->kernels->tiles[packed->dtype];
}

static int32_t count_terms(const mglu_packed_weights *packed, const mglu_layer_desc *desc)
{
    if (packed->kind == MGLU_KIND_PLAIN)
        return 1;
    return desc->top_k ? desc->top_k : packed->n_masks;
}

mglu_status mglu_cpu_layer_create(void *backend, int32_t ordinal, const mglu_layer_plan *plan, void *weights,
                                  void **layer)
{
    const struct mglu_cpu_backend *self = backend;
    const mglu_packed_weights *packed = &((const struct mglu_cpu_weights *)weights)->packed;
    struct mglu_cpu_layer *made = mglu_cpu_allocate(self->host, sizeof *made);

    if (!made)
        return self->host->fail(MGLU_ERROR_OUT_OF_MEMORY, "out of memory");
    *made = (struct mglu_cpu_layer){
        .backend = self,
        .weights = weights,
        .desc = plan->desc,
        .terms = count_terms(packed, &plan->desc),
        .use_bf16 = self->level->sums_bf16 && packed->dtype == MGLU_DTYPE_BF16 &&
                    plan->desc.x_dtype == MGLU_DTYPE_BF16 && !(plan->desc.flags & MGLU_LAYER_REPRODUCIBLE),
    };
    made->use_int8 = self->level->int8 && mglu_dtype_is_quantised(packed->dtype) &&
                     plan->desc.flags & MGLU_LAYER_ALLOW_QUANTISED_X && !(plan->desc.flags & MGLU_LAYER_REPRODUCIBLE);
    made->project = choose_sums(made);
    made->tiles = choose_tiles(made);
    made->large_batch = choose_large_batch(made);
    made->layout = slot_layout(made);
    *layer = made;
    return MGLU_OK;
}

void mglu_cpu_layer_destroy(void *backend, void *layer)
{
    mglu_cpu_release(((const struct mglu_cpu_backend *)backend)->host, layer, sizeof(struct mglu_cpu_layer));
}

int32_t mglu_cpu_chunk_tokens(const struct mglu_cpu_layer *layer)
{
    const int32_t most = layer->tiles ? mglu_cpu_batch_tokens(layer) : CHUNK_TOKENS;

    return layer->desc.max_batch < most ? (int32_t)layer->desc.max_batch : most;
}

size_t mglu_cpu_layer_workspace_size(void *backend, const void *layer)
{
    const struct mglu_cpu_layer *self = layer;

    return (size_t)mglu_cpu_chunk_tokens(self) * self->layout.size;
}

struct mglu_cpu_slot mglu_cpu_slot(const struct mglu_cpu_chunk *chunk, int64_t token)
{
    const struct mglu_cpu_slot_layout *layout = &chunk->layer->layout;
    char *start = (char *)chunk->args->workspace + (size_t)token * layout->size;

    return (struct mglu_cpu_slot){
        .x = (float *)(void *)(start + layout->x),
        .x_bf16 = (uint16_t *)(void *)(start + layout->x_bf16),
        .x_rounded = start + layout->x_rounded,
        .mask_ids = (int32_t *)(void *)(start + layout->mask_ids),
        .p = (float *)(void *)(start + layout->p),
        .z = (float *)(void *)(start + layout->z),
        .z_rounded = start + layout->z_rounded,
    };
}

mglu_accuracy mglu_cpu_layer_accuracy(void *backend, const void *layer)
{
    return ((const struct mglu_cpu_layer *)layer)->use_int8 ? MGLU_ACCURACY_C : MGLU_ACCURACY_A;
}
