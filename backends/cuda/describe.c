/* SPDX-License-Identifier: MIT */
#include "common/core/describe.h"
#include "backends/cuda/cuda_backend.h"

#include <stdio.h>

/* The log of a layer: a line for each of its kernels, with its occupancy of the device. */

void mglu_cuda_symbol(struct mglu_cuda_variant variant, char *text, size_t size)
{
    snprintf(text, size, "mglu_%s_%s_x%s_%s", mglu_cuda_engine_name(variant.engine), mglu_dtype_name(variant.weights),
             mglu_cuda_x_name(variant), mglu_cuda_form_name(variant.form));
}

/* Resident blocks per multiprocessor; 0 where the driver cannot report them. */
static mglu_status count_resident(const struct mglu_cuda_layer *layer, const struct mglu_cuda_kernel *kernel,
                                  struct mglu_cuda_launch launch, int *blocks)
{
    const struct mglu_cuda_driver *driver = &layer->device->backend->driver;

    *blocks = 0;
    if (!driver->occupancy)
        return MGLU_OK;
    return mglu_cuda_check(layer->device,
                           driver->occupancy(blocks, kernel->function.handle, (int)launch.block_x, launch.shared_bytes),
                           "cuOccupancyMaxActiveBlocksPerMultiprocessor");
}

/* Waves: blocks for one group of tokens / blocks resident on the whole device. */
static mglu_status describe_kernel(const struct mglu_cuda_layer *layer, const struct mglu_cuda_kernel *kernel,
                                   uint32_t rows, int64_t last_batch, const char *reason)
{
    const struct mglu_cuda_device *device = layer->device;
    const struct mglu_cuda_launch launch = mglu_cuda_kernel_launch(device, kernel, rows, 1);
    char symbol[64], text[MGLU_LAYER_TEXT_SIZE];
    int blocks;
    const mglu_status status = count_resident(layer, kernel, launch, &blocks);
    /* In integer hundredths: floating-point arithmetic may raise exceptions, which the caller may have unmasked. */
    const uint64_t slots = (uint64_t)blocks * device->multiprocessors;
    const uint64_t waves = slots ? (100 * (uint64_t)mglu_tile_strips(rows) + slots / 2) / slots : 0;

    if (status != MGLU_OK)
        return status;
    mglu_cuda_symbol(kernel->variant, symbol, sizeof symbol);
    mglu_describe_layer(&layer->weights->shape, last_batch, text);
    device->backend->host->log(device->backend->host, MGLU_LOG_DEBUG,
                               "cuda: %s: kernel %s, %s on sm_%d, %u warps %d registers %d.%02d waves: %s", text,
                               symbol, mglu_cuda_engine_name(kernel->variant.engine), (int)device->architecture,
                               launch.block_x / 32, kernel->function.registers, (int)(waves / 100), (int)(waves % 100),
                               reason);
    return MGLU_OK;
}

/* The largest batch that an engine gets; 0: none. */
static int64_t last_batch_of(const struct mglu_cuda_layer *layer, int engine)
{
    int64_t last = layer->desc.max_batch;

    for (int later = engine + 1; later < MGLU_CUDA_ENGINES; later++)
        if (layer->selection.from_batch[later] <= last)
            last = layer->selection.from_batch[later] - 1;
    return last < layer->selection.from_batch[engine] ? 0 : last;
}

mglu_status mglu_cuda_describe(const struct mglu_cuda_layer *layer)
{
    const mglu_packed_weights *shape = &layer->weights->shape;
    mglu_status status = MGLU_OK;

    for (int engine = 0; engine < MGLU_CUDA_ENGINES && status == MGLU_OK && shape->intermediate_size > 0; engine++) {
        const int64_t last = last_batch_of(layer, engine);

        if (last > 0)
            status = describe_kernel(layer, &layer->project[engine], layer->weights->projection.rows, last,
                                     layer->selection.reason);
    }
    if (status == MGLU_OK && shape->output_size > 0)
        status = describe_kernel(layer, &layer->down, layer->weights->down.rows, layer->desc.max_batch,
                                 "the down-projection, whose x is f32");
    return status;
}
