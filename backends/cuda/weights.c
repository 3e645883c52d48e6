/* SPDX-License-Identifier: MIT */
#include "backends/cuda/cuda_backend.h"
#include "backends/cuda/kernels/retile.h"

#include <string.h>

/* Weights are uploaded in the order in which the kernels read them, slice by slice through a small buffer. */

#define PART_ALIGNMENT ((size_t)256)
#define STAGING_BYTES  ((size_t)4 << 20)

/* A host buffer that the device copies from. */
struct staging {
    struct mglu_cuda_device *device;
    unsigned char *data;
    size_t size;
    int is_pinned;
    CUstream stream;
    const mglu_parallel *parallel;
};

static struct mglu_cuda_matrix projection_of(const mglu_packed_weights *packed)
{
    return (struct mglu_cuda_matrix){
        .plane = {packed->weight, packed->value_weight},
        .scales = {packed->weight.scales, packed->value_weight.scales},
        .masks = packed->masks,
        .dtype = packed->dtype,
        .n_masks = (uint32_t)packed->n_masks,
        .rows = packed->intermediate_size,
        .columns = packed->hidden_size,
    };
}

static struct mglu_cuda_matrix down_of(const mglu_packed_weights *packed)
{
    return (struct mglu_cuda_matrix){
        .plane = {packed->down},
        .scales = {packed->down.scales},
        .dtype = packed->dtype,
        .rows = packed->output_size,
        .columns = packed->intermediate_size,
    };
}

static size_t strip_bytes(const struct mglu_cuda_matrix *matrix)
{
    uint32_t strips = mglu_tile_strips(matrix->rows);

    return strips ? (size_t)(mglu_cuda_matrix_bytes(matrix) / strips) : 0;
}

/* Reserves the next `bytes` of the weights' memory. */
static size_t reserve(size_t *size, size_t bytes)
{
    size_t offset = *size;

    *size += (bytes + PART_ALIGNMENT - 1) / PART_ALIGNMENT * PART_ALIGNMENT;
    return offset;
}

/* A slice of strips that tasks arrange. */
struct slice {
    const struct mglu_cuda_matrix *matrix;
    uint32_t first_strip;
    unsigned char *target;
    atomic_int has_infinite; /* masked f16 and bf16 only: the tensor core kernels do not support it */
};

static int has_infinite(const struct mglu_cuda_matrix *matrix, uint32_t strip)
{
    const mglu_packed_matrix *plane = &matrix->plane[0];
    const unsigned infinity = matrix->dtype == MGLU_DTYPE_F16 ? 0x7c00 : 0x7f80, magnitude = 0x7fff;
    int64_t first = (int64_t)strip * MGLU_TILE_ROWS;
    int64_t end = first + MGLU_TILE_ROWS < matrix->rows ? first + MGLU_TILE_ROWS : matrix->rows;
    int found = 0;

    for (int64_t row = first; row < end; row++) {
        const uint16_t *halves =
            (const uint16_t *)(const void *)((const char *)plane->data + (size_t)row * plane->stride_bytes);

        for (int64_t column = 0; column < matrix->columns; column++)
            found |= (halves[column] & magnitude) == infinity;
    }
    return found;
}

static void arrange_strip(void *argument, int64_t index)
{
    struct slice *slice = argument;
    const struct mglu_cuda_matrix *matrix = slice->matrix;
    uint32_t strip = slice->first_strip + (uint32_t)index;

    mglu_cuda_retile(matrix, strip, 1, slice->target + (size_t)index * strip_bytes(matrix));
    if (matrix->n_masks && mglu_cuda_is_half(matrix->dtype) && has_infinite(matrix, strip))
        atomic_store_explicit(&slice->has_infinite, 1, memory_order_relaxed);
}

/* Copies the contents of the staging buffer and waits, so that the buffer can be filled again. */
static mglu_status send(const struct staging *staging, CUdeviceptr target, size_t bytes)
{
    const struct mglu_cuda_driver *driver = &staging->device->backend->driver;
    mglu_status status = mglu_cuda_check(
        staging->device, driver->memcpy_htod_async(target, staging->data, bytes, staging->stream), "cuMemcpyHtoDAsync");

    if (status == MGLU_OK)
        status = mglu_cuda_check(staging->device, driver->stream_synchronize(staging->stream), "cuStreamSynchronize");
    return status;
}

static mglu_status send_matrix(const struct staging *staging, const struct mglu_cuda_matrix *matrix,
                               struct mglu_cuda_tiles *tiles)
{
    const mglu_parallel *parallel = staging->parallel;
    size_t bytes = strip_bytes(matrix);
    uint32_t strips = bytes ? mglu_tile_strips(matrix->rows) : 0;
    uint32_t at_once = bytes ? (uint32_t)(staging->size / bytes) : 0;
    mglu_status status = MGLU_OK;

    for (uint32_t first = 0; first < strips && status == MGLU_OK; first += at_once) {
        uint32_t count = strips - first < at_once ? strips - first : at_once;
        struct slice slice = {.matrix = matrix, .first_strip = first, .target = staging->data};

        atomic_init(&slice.has_infinite, 0);
        parallel->parallel_for(parallel->user, count, arrange_strip, &slice);
        tiles->has_infinite |= atomic_load(&slice.has_infinite);
        status = send(staging, tiles->address + (CUdeviceptr)first * bytes, count * bytes);
    }
    return status;
}

static mglu_status send_floats(const struct staging *staging, const float *from, size_t count, CUdeviceptr target)
{
    size_t bytes = count * sizeof *from;
    mglu_status status = MGLU_OK;

    for (size_t at = 0; at < bytes && status == MGLU_OK; at += staging->size) {
        size_t part = bytes - at < staging->size ? bytes - at : staging->size;

        memcpy(staging->data, (const char *)from + at, part);
        status = send(staging, target + at, part);
    }
    return status;
}

/* Floats of the parts that are not stored as tiles. */
static size_t bias_count(const mglu_packed_weights *packed)
{
    return (size_t)(packed->n_masks ? packed->n_masks : 1) * (size_t)packed->intermediate_size;
}

static size_t router_count(const mglu_packed_weights *packed)
{
    return (size_t)packed->n_masks * packed->router.stride_bytes / sizeof(float);
}

/* The addresses of all parts from `memory` on; without memory (0) only the size is of use. */
static void lay_out(struct mglu_cuda_weights *weights, const mglu_packed_weights *packed, CUdeviceptr memory)
{
    const struct mglu_cuda_matrix projection = projection_of(packed), down = down_of(packed);
    uint32_t planes = packed->kind == MGLU_KIND_PLAIN ? 2 : 1;
    size_t size = 0;

    weights->projection = (struct mglu_cuda_tiles){
        .address = memory + reserve(&size, (size_t)mglu_cuda_matrix_bytes(&projection)),
        .rows = (uint32_t)packed->intermediate_size,
        .columns = (uint32_t)packed->hidden_size,
        .block_bytes = mglu_tile_block_bytes(packed->dtype, planes, (uint32_t)packed->n_masks),
    };
    weights->down = (struct mglu_cuda_tiles){
        .address = memory + reserve(&size, (size_t)mglu_cuda_matrix_bytes(&down)),
        .rows = (uint32_t)packed->output_size,
        .columns = (uint32_t)packed->intermediate_size,
        .block_bytes = mglu_tile_block_bytes(packed->dtype, 1, 0),
    };
    if (packed->gate_bias)
        weights->gate_bias = memory + reserve(&size, bias_count(packed) * sizeof(float));
    if (packed->value_bias)
        weights->value_bias = memory + reserve(&size, bias_count(packed) * sizeof(float));
    if (packed->down_bias)
        weights->down_bias = memory + reserve(&size, (size_t)packed->output_size * sizeof(float));
    if (packed->router.data)
        weights->router = memory + reserve(&size, router_count(packed) * sizeof(float));
    weights->router_stride = (int64_t)(packed->router.stride_bytes / sizeof(float));
    weights->memory = memory;
    weights->size = size;
}

static mglu_status send_all(struct mglu_cuda_weights *weights, const mglu_packed_weights *packed,
                            const struct staging *staging)
{
    const struct mglu_cuda_matrix projection = projection_of(packed), down = down_of(packed);
    const struct {
        const float *from;
        size_t count;
        CUdeviceptr to;
    } floats[] = {
        {packed->gate_bias, bias_count(packed), weights->gate_bias},
        {packed->value_bias, bias_count(packed), weights->value_bias},
        {packed->down_bias, (size_t)packed->output_size, weights->down_bias},
        {packed->router.data, router_count(packed), weights->router},
    };
    mglu_status status = send_matrix(staging, &projection, &weights->projection);

    if (status == MGLU_OK && packed->output_size > 0)
        status = send_matrix(staging, &down, &weights->down);
    for (size_t i = 0; i < sizeof floats / sizeof floats[0] && status == MGLU_OK; i++)
        if (floats[i].from)
            status = send_floats(staging, floats[i].from, floats[i].count, floats[i].to);
    return status;
}

static size_t largest(size_t a, size_t b)
{
    return a > b ? a : b;
}

/* Makes a buffer for at least one strip, of pinned memory where that can be allocated. */
static mglu_status make_staging(struct staging *staging, const mglu_packed_weights *packed, size_t total)
{
    const struct mglu_cuda_matrix projection = projection_of(packed), down = down_of(packed);
    const struct mglu_cuda_driver *driver = &staging->device->backend->driver;
    CUresult result;
    void *memory = NULL;

    staging->size =
        largest(total < STAGING_BYTES ? total : STAGING_BYTES, largest(strip_bytes(&projection), strip_bytes(&down)));
    result = driver->mem_host_alloc(&memory, staging->size, 0);
    if (mglu_cuda_is_sticky(result))
        return mglu_cuda_check(staging->device, result, "cuMemHostAlloc");
    staging->is_pinned = result == CUDA_SUCCESS;
    if (!staging->is_pinned)
        memory = mglu_cuda_allocate(staging->device->backend->host, staging->size);
    staging->data = memory;
    if (!memory)
        return staging->device->backend->host->fail(MGLU_ERROR_OUT_OF_MEMORY, "no memory for %zu bytes", staging->size);
    return mglu_cuda_check(staging->device, driver->stream_create(&staging->stream, CU_STREAM_NON_BLOCKING),
                           "cuStreamCreate");
}

static void free_staging(const struct staging *staging, mglu_status status)
{
    const struct mglu_cuda_driver *driver = &staging->device->backend->driver;

    if (staging->stream && status != MGLU_OK)
        driver->stream_synchronize(staging->stream); /* a copy may still read the buffer */
    if (staging->stream)
        driver->stream_destroy(staging->stream);
    if (staging->is_pinned)
        driver->mem_free_host(staging->data);
    else if (staging->data)
        mglu_cuda_release(staging->device->backend->host, staging->data, staging->size);
}

/* Between enter and leave. */
static mglu_status upload(struct mglu_cuda_device *device, const mglu_packed_weights *packed,
                          struct mglu_cuda_weights *weights)
{
    struct staging staging = {.device = device, .parallel = packed->parallel};
    CUdeviceptr memory = 0;
    mglu_status status;

    lay_out(weights, packed, 0);
    if (weights->size == 0)
        return MGLU_OK;
    status = mglu_cuda_memory_take(device, weights->size, &memory);
    if (status != MGLU_OK)
        return status;
    lay_out(weights, packed, memory);
    status = make_staging(&staging, packed, weights->size);
    if (status == MGLU_OK)
        status = send_all(weights, packed, &staging);
    free_staging(&staging, status);
    if (status != MGLU_OK)
        mglu_cuda_memory_give(device, memory, weights->size);
    return status;
}

mglu_status mglu_cuda_check_dtype(const mglu_host *host, mglu_dtype dtype)
{
    const char *name = mglu_dtype_name(dtype);

    if (mglu_tile_weight_bits(dtype) > 0)
        return MGLU_OK;
    return host->fail(MGLU_ERROR_UNSUPPORTED, "cuda: no kernels for weights of dtype %s (%d)", name ? name : "unknown",
                      (int)dtype);
}

mglu_status mglu_cuda_weights_create(void *backend, int32_t ordinal, const mglu_packed_weights *packed, void **weights)
{
    struct mglu_cuda_backend *self = backend;
    mglu_status status = mglu_cuda_check_dtype(self->host, packed->dtype);
    struct mglu_cuda_weights *made;

    if (status != MGLU_OK)
        return status;
    made = mglu_cuda_allocate(self->host, sizeof *made);
    if (!made)
        return self->host->fail(MGLU_ERROR_OUT_OF_MEMORY, "out of memory");
    *made = (struct mglu_cuda_weights){.device = &self->devices[ordinal], .shape = *packed};
    status = mglu_cuda_retain_and_enter(made->device);
    if (status == MGLU_OK)
        status = mglu_cuda_leave(made->device, upload(made->device, packed, made));
    if (status != MGLU_OK) {
        mglu_cuda_release(self->host, made, sizeof *made);
        return status;
    }
    *weights = made;
    return MGLU_OK;
}

void mglu_cuda_weights_destroy(void *backend, void *weights)
{
    struct mglu_cuda_weights *old = weights;

    if (old->size && mglu_cuda_enter_to_free(old->device)) {
        mglu_cuda_memory_give(old->device, old->memory, old->size);
        mglu_cuda_leave_context(old->device);
    }
    mglu_cuda_release(((const struct mglu_cuda_backend *)backend)->host, old, sizeof *old);
}

uint64_t mglu_cuda_weights_bytes(void *backend, const void *weights)
{
    return ((const struct mglu_cuda_weights *)weights)->size;
}
