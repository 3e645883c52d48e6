/* SPDX-License-Identifier: MIT */
#include "backends/cuda/cuda_backend.h"

/*
 * A forward is up to three launches: routing, projection, down-projection. For memory that it has had before it makes
 * no other driver call, and else none that a stream being captured forbids (validate.c). Layers that need a workspace
 * process large batches in chunks.
 */

struct chunk {
    const struct mglu_cuda_layer *layer;
    const struct mglu_cuda_queue *queue;
    const mglu_forward_args *args;
    struct mglu_cuda_workspace workspace;
    int64_t first, tokens;
};

static mglu_status launch(const struct chunk *chunk, const struct mglu_cuda_function *function,
                          struct mglu_cuda_launch geometry, void *argument, const char *what)
{
    struct mglu_cuda_device *device = chunk->layer->device;
    CUlaunchAttribute overlap = {
        .id = CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION,
        .value.programmaticStreamSerializationAllowed = 1,
    };
    const CUlaunchConfig config = {
        .gridDimX = geometry.grid_x,
        .gridDimY = geometry.grid_y,
        .gridDimZ = 1,
        .blockDimX = geometry.block_x,
        .blockDimY = 1,
        .blockDimZ = 1,
        .sharedMemBytes = geometry.shared_bytes,
        .hStream = chunk->queue->stream,
        .attrs = &overlap,
        .numAttrs = function->waits ? 1 : 0,
    };
    void *arguments[] = {argument};

    return mglu_cuda_check(device, device->backend->driver.launch_kernel_ex(&config, function->handle, arguments, NULL),
                           what);
}

/* Address of the chunk's first token. */
static uint64_t address(const struct chunk *chunk, const void *data, size_t byte_offset, int64_t stride,
                        size_t element_bytes)
{
    return data ? (uint64_t)(uintptr_t)data + byte_offset + (uint64_t)(chunk->first * stride) * element_bytes : 0;
}

static uint64_t input_address(const struct chunk *chunk, const mglu_input *input, size_t element_bytes)
{
    return address(chunk, input->data, input->byte_offset, input->row_stride, element_bytes);
}

static uint64_t workspace(const struct chunk *chunk, size_t offset)
{
    return (uint64_t)(uintptr_t)chunk->args->workspace + offset;
}

static mglu_status route(const struct chunk *chunk)
{
    const struct mglu_cuda_layer *layer = chunk->layer;
    const struct mglu_cuda_weights *weights = layer->weights;
    const mglu_forward_args *args = chunk->args;
    struct mglu_cuda_routing routing = {
        .x = input_address(chunk, &args->x, mglu_dtype_size(layer->desc.x_dtype)),
        .router = weights->router,
        .given_ids = input_address(chunk, &args->routing_ids, sizeof(int32_t)),
        .given_weights = input_address(chunk, &args->routing_weights, sizeof(float)),
        .mask_ids = workspace(chunk, chunk->workspace.ids_offset),
        .mask_weights = workspace(chunk, chunk->workspace.p_offset),
        .bad_routing = chunk->queue->bad_routing_address,
        .x_stride = args->x.row_stride,
        .ids_stride = args->routing_ids.row_stride,
        .weights_stride = args->routing_weights.row_stride,
        .router_stride = weights->router_stride,
        .batch = chunk->tokens,
        .columns = weights->projection.columns,
        .n_masks = weights->shape.n_masks,
        .top_k = layer->desc.top_k,
        .x_dtype = (int32_t)layer->desc.x_dtype,
    };

    return launch(chunk, &layer->route, mglu_cuda_route_launch(chunk->tokens), &routing,
                  "cuLaunchKernelEx, launch of routing");
}

/* The output of the layer, for its last launch. */
static void give_output(const struct chunk *chunk, struct mglu_cuda_projection *projection)
{
    const mglu_forward_args *args = chunk->args;
    const mglu_dtype dtype = chunk->layer->desc.y_dtype;
    const size_t bytes = mglu_dtype_size(dtype);

    projection->y = address(chunk, args->y.data, args->y.byte_offset, args->y.row_stride, bytes);
    projection->y_stride = args->y.row_stride;
    projection->y_dtype = (int32_t)dtype;
    projection->residual = input_address(chunk, &args->residual, bytes);
    projection->residual_stride = args->residual.row_stride;
}

static mglu_status launch_projection(const struct chunk *chunk, const struct mglu_cuda_kernel *kernel,
                                     struct mglu_cuda_projection *projection, const char *what)
{
    projection->ring_depth = kernel->ring.depth;
    return launch(chunk, &kernel->function,
                  mglu_cuda_kernel_launch(chunk->layer->device, kernel, projection->rows, projection->batch),
                  projection, what);
}

static mglu_status project(const struct chunk *chunk)
{
    const struct mglu_cuda_layer *layer = chunk->layer;
    const struct mglu_cuda_weights *weights = layer->weights;
    const struct mglu_cuda_tiles *tiles = &weights->projection;
    int is_routed = layer->desc.top_k > 0;
    struct mglu_cuda_projection projection = {
        .x = input_address(chunk, &chunk->args->x, mglu_dtype_size(layer->desc.x_dtype)),
        .x_stride = chunk->args->x.row_stride,
        .x_dtype = (int32_t)layer->desc.x_dtype,
        .y = workspace(chunk, chunk->workspace.z_offset),
        .y_stride = chunk->workspace.z_stride,
        .y_dtype = MGLU_DTYPE_F32,
        .weights = tiles->address,
        .gate_bias = weights->gate_bias,
        .value_bias = weights->value_bias,
        .mask_ids = is_routed ? workspace(chunk, chunk->workspace.ids_offset) : 0,
        .mask_weights = is_routed ? workspace(chunk, chunk->workspace.p_offset) : 0,
        .batch = chunk->tokens,
        .rows = tiles->rows,
        .columns = tiles->columns,
        .block_bytes = tiles->block_bytes,
        .terms = layer->terms,
        .activation = (int32_t)layer->desc.activation,
        .silu_beta = layer->desc.silu_beta,
    };

    if (weights->shape.output_size == 0)
        give_output(chunk, &projection);
    /* Selected by the batch, not the chunk: a call must not mix the summation orders of two engines. */
    return launch_projection(chunk, &layer->project[mglu_cuda_engine_for(&layer->selection, chunk->args->batch)],
                             &projection, "cuLaunchKernelEx, launch of the projection");
}

static mglu_status project_down(const struct chunk *chunk)
{
    const struct mglu_cuda_layer *layer = chunk->layer;
    const struct mglu_cuda_tiles *tiles = &layer->weights->down;
    struct mglu_cuda_projection projection = {
        .x = workspace(chunk, chunk->workspace.z_offset),
        .x_stride = chunk->workspace.z_stride,
        .x_dtype = MGLU_DTYPE_F32,
        .weights = tiles->address,
        .gate_bias = layer->weights->down_bias,
        .batch = chunk->tokens,
        .rows = tiles->rows,
        .columns = tiles->columns,
        .block_bytes = tiles->block_bytes,
        .terms = 1,
    };

    give_output(chunk, &projection);
    return launch_projection(chunk, &layer->down, &projection, "cuLaunchKernelEx, launch of the down-projection");
}

static mglu_status forward_chunk(const struct chunk *chunk)
{
    const mglu_packed_weights *shape = &chunk->layer->weights->shape;
    mglu_status status = MGLU_OK;

    if (chunk->layer->desc.top_k > 0)
        status = route(chunk);
    if (status == MGLU_OK && shape->intermediate_size > 0)
        status = project(chunk);
    if (status == MGLU_OK && shape->output_size > 0)
        status = project_down(chunk);
    return status;
}

mglu_status mglu_cuda_forward(void *backend, void *layer, void *queue, const mglu_forward_args *args)
{
    const struct mglu_cuda_layer *self = layer;
    struct chunk chunk = {.layer = self,
                          .queue = queue,
                          .args = args,
                          .workspace = mglu_cuda_lay_out(&self->weights->shape, &self->desc, args->batch)};
    mglu_status status = mglu_cuda_enter(self->device);

    if (status != MGLU_OK)
        return status;
    status = mglu_cuda_check_addresses(queue, args);
    while (chunk.first < args->batch && status == MGLU_OK) {
        int64_t left = args->batch - chunk.first;

        chunk.tokens = left < chunk.workspace.chunk_tokens ? left : chunk.workspace.chunk_tokens;
        status = forward_chunk(&chunk);
        chunk.first += chunk.tokens;
    }
    return mglu_cuda_leave(self->device, status);
}
