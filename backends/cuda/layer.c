/* SPDX-License-Identifier: MIT */
#include "backends/cuda/cuda_backend.h"

/* A layer: its kernels, ready to launch, and the layout of its workspace. */

/* Tokens per round of launches of layers that need a workspace. */
enum { CHUNK_TOKENS = 256, WORKSPACE_ALIGNMENT = 256, VECTOR_FLOATS = 4 };

mglu_status mglu_cuda_supports(void *backend, int32_t ordinal, const mglu_layer_plan *plan)
{
    return mglu_cuda_check_dtype(((const struct mglu_cuda_backend *)backend)->host, plan->shape->dtype);
}

static size_t reserve(size_t *size, size_t bytes)
{
    size_t offset = *size;

    *size += (bytes + WORKSPACE_ALIGNMENT - 1) / WORKSPACE_ALIGNMENT * WORKSPACE_ALIGNMENT;
    return offset;
}

struct mglu_cuda_workspace mglu_cuda_lay_out(const mglu_packed_weights *shape, const mglu_layer_desc *desc,
                                             int64_t batch)
{
    const int is_needed = desc->top_k > 0 || shape->output_size > 0;
    struct mglu_cuda_workspace workspace = {
        .chunk_tokens = is_needed && batch > CHUNK_TOKENS ? CHUNK_TOKENS : batch,
        .z_stride = (shape->intermediate_size + VECTOR_FLOATS - 1) / VECTOR_FLOATS * VECTOR_FLOATS,
    };
    const size_t tokens = (size_t)workspace.chunk_tokens, routed = tokens * (size_t)desc->top_k;

    workspace.ids_offset = reserve(&workspace.size, routed * sizeof(int32_t));
    workspace.p_offset = reserve(&workspace.size, routed * sizeof(float));
    if (shape->output_size > 0)
        workspace.z_offset = reserve(&workspace.size, tokens * (size_t)workspace.z_stride * sizeof(float));
    return workspace;
}

/* Between enter and leave. The ring may take more shared memory than other launches; all layers are allowed the most.
 */
static mglu_status prepare_ring(struct mglu_cuda_device *device, uint32_t block_bytes, struct mglu_cuda_kernel *kernel)
{
    kernel->ring = mglu_cuda_ring_plan(device->ring, kernel->variant.form, kernel->warps, block_bytes);
    if (kernel->ring.depth == 0)
        return device->backend->host->fail(MGLU_ERROR_INVALID_ARGUMENT,
                                           "cuda: a ring of %u warps does not fit into shared memory; force fewer",
                                           kernel->warps);
    return mglu_cuda_allow_shared(device, &kernel->function, mglu_cuda_ring_most_shared(device->ring));
}

struct mglu_cuda_launch mglu_cuda_kernel_launch(const struct mglu_cuda_device *device,
                                                const struct mglu_cuda_kernel *kernel, uint32_t rows, int64_t batch)
{
    if (kernel->variant.engine == MGLU_CUDA_RING)
        return mglu_cuda_ring_launch(device->ring, kernel->ring, rows);
    return mglu_cuda_projection_launch(kernel->variant, kernel->warps, rows, batch);
}

static uint32_t choose_warps(const struct mglu_cuda_device *device, struct mglu_cuda_variant variant,
                             const struct mglu_cuda_tiles *tiles, uint32_t least)
{
    const uint32_t warps = variant.engine == MGLU_CUDA_RING
                               ? mglu_cuda_ring_warps(tiles->columns)
                               : mglu_cuda_warps(variant, tiles->rows, tiles->columns, device->multiprocessors);

    return !mglu_cuda_has_tensor_cores(variant.engine) && warps < least ? least : warps;
}

static mglu_status find_kernel(struct mglu_cuda_device *device, struct mglu_cuda_variant variant,
                               const struct mglu_cuda_tiles *tiles, uint32_t least_warps,
                               struct mglu_cuda_kernel *kernel)
{
    const uint32_t warps = choose_warps(device, variant, tiles, least_warps);
    mglu_status status;
    char symbol[64];

    mglu_cuda_symbol(variant, symbol, sizeof symbol);
    kernel->variant = variant;
    kernel->warps = warps;
    status = mglu_cuda_find_function(device, mglu_cuda_module_of(variant), symbol,
                                     mglu_cuda_projection_launch(variant, warps, 1, 1).block_x, &kernel->function);
    if (status == MGLU_OK && variant.engine == MGLU_CUDA_RING)
        status = prepare_ring(device, tiles->block_bytes, kernel);
    return status;
}

static struct mglu_cuda_request request_of(const struct mglu_cuda_layer *layer, enum mglu_cuda_form form)
{
    const struct mglu_cuda_weights *weights = layer->weights;

    return (struct mglu_cuda_request){
        .architecture = layer->device->architecture,
        .weights = weights->shape.dtype,
        .x = layer->desc.x_dtype,
        .form = form,
        .has_routing = layer->desc.top_k > 0,
        .is_reproducible = (layer->desc.flags & MGLU_LAYER_REPRODUCIBLE) != 0,
        .has_infinite = weights->projection.has_infinite,
        .columns = weights->projection.columns,
        .block_bytes = weights->projection.block_bytes,
        .ring = layer->device->ring,
    };
}

static void explain_forced(const struct mglu_cuda_layer *layer, const struct mglu_cuda_request *request)
{
    const struct mglu_cuda_backend *backend = layer->device->backend;
    const char *refusal = mglu_cuda_refusal(request, backend->forced.engine);

    if (backend->forced.is_forced && refusal)
        backend->host->log(backend->host, MGLU_LOG_WARN, "cuda: %s is not used as requested: %s",
                           mglu_cuda_engine_name(backend->forced.engine), refusal);
}

/* Finds the projection's kernel for every engine that some batch of this layer gets. */
static mglu_status find_projection(struct mglu_cuda_layer *layer)
{
    const mglu_packed_weights *shape = &layer->weights->shape;
    enum mglu_cuda_form form = shape->kind == MGLU_KIND_PLAIN ? MGLU_CUDA_GLU : mglu_cuda_form_of_terms(layer->terms);
    const struct mglu_cuda_request request = request_of(layer, form);
    mglu_status status = MGLU_OK;

    explain_forced(layer, &request);
    layer->selection = mglu_cuda_select(&request, &layer->device->backend->forced);
    for (int i = 0; i < MGLU_CUDA_ENGINES && status == MGLU_OK; i++) {
        const struct mglu_cuda_variant variant = {(enum mglu_cuda_engine)i, shape->dtype,
                                                  mglu_cuda_x_of(shape->dtype, layer->desc.x_dtype), form};

        if (layer->selection.from_batch[i] <= layer->desc.max_batch)
            status = find_kernel(layer->device, variant, &layer->weights->projection, layer->selection.simt_warps,
                                 &layer->project[i]);
    }
    return status;
}

static mglu_status find_down(struct mglu_cuda_layer *layer)
{
    const struct mglu_cuda_request request = request_of(layer, MGLU_CUDA_SUM);
    const struct mglu_cuda_forced nothing_forced = {0};
    const struct mglu_cuda_selection selection = mglu_cuda_select(&request, &nothing_forced);
    const struct mglu_cuda_variant variant = {MGLU_CUDA_SIMT, layer->weights->shape.dtype, MGLU_CUDA_X_F32,
                                              MGLU_CUDA_SUM};

    return find_kernel(layer->device, variant, &layer->weights->down, selection.simt_warps, &layer->down);
}

/* Call between enter and leave. */
static mglu_status find_kernels(struct mglu_cuda_layer *layer)
{
    mglu_status status = find_projection(layer);

    if (status == MGLU_OK && layer->weights->shape.output_size > 0)
        status = find_down(layer);
    if (status == MGLU_OK && layer->desc.top_k > 0)
        status = mglu_cuda_find_function(layer->device, MGLU_CUDA_MODULE_ROUTING, MGLU_CUDA_ROUTE_SYMBOL,
                                         MGLU_CUDA_ROUTE_THREADS, &layer->route);
    return status == MGLU_OK ? mglu_cuda_describe(layer) : status;
}

static int32_t count_terms(const mglu_packed_weights *shape, const mglu_layer_desc *desc)
{
    if (shape->kind == MGLU_KIND_PLAIN)
        return 1;
    return desc->top_k ? desc->top_k : shape->n_masks;
}

mglu_status mglu_cuda_layer_create(void *backend, int32_t ordinal, const mglu_layer_plan *plan, void *weights,
                                   void **layer)
{
    struct mglu_cuda_backend *self = backend;
    struct mglu_cuda_layer *made = mglu_cuda_allocate(self->host, sizeof *made);
    const struct mglu_cuda_weights *of = weights;
    mglu_status status;

    if (!made)
        return self->host->fail(MGLU_ERROR_OUT_OF_MEMORY, "out of memory");
    *made = (struct mglu_cuda_layer){
        .device = &self->devices[ordinal],
        .weights = of,
        .desc = plan->desc,
        .terms = count_terms(&of->shape, &plan->desc),
    };
    status = mglu_cuda_enter(made->device);
    if (status == MGLU_OK)
        status = mglu_cuda_leave(made->device, find_kernels(made));
    if (status != MGLU_OK) {
        mglu_cuda_release(self->host, made, sizeof *made);
        return status;
    }
    *layer = made;
    return MGLU_OK;
}

void mglu_cuda_layer_destroy(void *backend, void *layer)
{
    mglu_cuda_release(((const struct mglu_cuda_backend *)backend)->host, layer, sizeof(struct mglu_cuda_layer));
}

size_t mglu_cuda_workspace_size(void *backend, int32_t ordinal, const mglu_layer_plan *plan, int64_t batch)
{
    return mglu_cuda_lay_out(plan->shape, &plan->desc, batch).size;
}

mglu_accuracy mglu_cuda_layer_accuracy(void *backend, const void *layer)
{
    const struct mglu_cuda_layer *self = layer;

    for (int i = 0; i < MGLU_CUDA_ENGINES; i++)
        if (mglu_cuda_has_tensor_cores((enum mglu_cuda_engine)i) && self->project[i].function.handle)
            return MGLU_ACCURACY_B;
    return MGLU_ACCURACY_A;
}
