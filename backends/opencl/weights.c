/* SPDX-License-Identifier: MIT */
#include "backends/opencl/opencl.h"

/*
 * The packed arrays are uploaded unchanged: adjacent work-items read adjacent 16 bytes of a row, and the mask words of
 * a group are adjacent. Only arrays too large for one buffer are split, between rows.
 */

/* Rows of every part except the last are a multiple of this, so that no work-group spans two parts. */
enum { ROWS_TOGETHER = 64 };

/* The address of a matrix in host memory, and its row strides. */
struct source {
    const void *weight, *scales, *value, *value_scales, *masks;
    size_t weight_stride, scale_stride, mask_stride; /* bytes */
};

static struct mglu_opencl_device *device_of(void *backend, int32_t ordinal)
{
    return &((struct mglu_opencl_backend *)backend)->devices[ordinal];
}

static struct source source_of(const mglu_packed_matrix *weight, const mglu_packed_matrix *value, const uint32_t *masks,
                               const struct mglu_opencl_matrix *matrix)
{
    const size_t groups = (size_t)mglu_format_groups((mglu_index)matrix->columns);

    return (struct source){
        .weight = weight->data,
        .scales = weight->scales,
        .value = value ? value->data : NULL,
        .value_scales = value ? value->scales : NULL,
        .masks = masks,
        .weight_stride = weight->stride_bytes,
        .scale_stride = weight->scale_stride_bytes,
        .mask_stride = groups * (size_t)matrix->n_masks * sizeof(uint32_t),
    };
}

/* A buffer with `size` bytes from `array` + `offset`, added to the byte count; `empty_buffer` if size is 0. */
static mglu_status upload(struct mglu_opencl_weights *weights, const void *array, size_t offset, size_t size,
                          cl_mem *buffer)
{
    if (!array || size == 0) {
        *buffer = weights->device->empty_buffer;
        return MGLU_OK;
    }
    weights->bytes += size;
    return mglu_opencl_buffer(weights->device, size, (const unsigned char *)array + offset, buffer);
}

static mglu_status upload_part(struct mglu_opencl_weights *weights, const struct source *source,
                               struct mglu_opencl_part *part)
{
    const struct {
        const void *array;
        size_t stride;
        cl_mem *buffer;
    } arrays[] = {
        {source->weight, source->weight_stride, &part->weight},
        {source->scales, source->scale_stride, &part->scales},
        {source->value, source->weight_stride, &part->value},
        {source->value_scales, source->scale_stride, &part->value_scales},
        {source->masks, source->mask_stride, &part->masks},
    };
    mglu_status status = MGLU_OK;

    for (size_t i = 0; i < sizeof arrays / sizeof arrays[0] && status == MGLU_OK; i++)
        status = upload(weights, arrays[i].array, (size_t)part->first_row * arrays[i].stride,
                        (size_t)part->rows * arrays[i].stride, arrays[i].buffer);
    return status;
}

static int64_t rows_of_part(const struct mglu_opencl_device *device, const struct source *source)
{
    const size_t most = source->weight_stride > source->mask_stride ? source->weight_stride : source->mask_stride;
    const uint64_t rows = most ? device->most_bytes / most : (uint64_t)MGLU_MAX_SIZE;

    return rows < ROWS_TOGETHER ? (rows ? (int64_t)rows : 1) : (int64_t)(rows / ROWS_TOGETHER * ROWS_TOGETHER);
}

static mglu_status upload_matrix(struct mglu_opencl_weights *weights, const struct source *source,
                                 struct mglu_opencl_matrix *matrix)
{
    const mglu_host *host = weights->device->backend->host;
    const int64_t step = rows_of_part(weights->device, source);
    const int64_t count = (matrix->rows + step - 1) / step;
    mglu_status status = MGLU_OK;

    if (count == 0)
        return MGLU_OK;
    matrix->parts = mglu_opencl_allocate(host, (size_t)count * sizeof *matrix->parts);
    if (!matrix->parts)
        return host->fail(MGLU_ERROR_OUT_OF_MEMORY, "out of memory");
    while (matrix->count < count && status == MGLU_OK) {
        const int64_t first = matrix->count * step, left = matrix->rows - first;
        struct mglu_opencl_part *part = &matrix->parts[matrix->count++];
        *part = (struct mglu_opencl_part){.first_row = first, .rows = left < step ? left : step};
        status = upload_part(weights, source, part);
    }
    return status;
}

static mglu_status upload_matrices(struct mglu_opencl_weights *weights, const mglu_packed_weights *packed)
{
    const int is_plain = packed->kind == MGLU_KIND_PLAIN;
    const mglu_packed_matrix *value = is_plain ? &packed->value_weight : NULL;
    struct source source;
    mglu_status status;

    weights->projection = (struct mglu_opencl_matrix){.dtype = packed->dtype,
                                                      .rows = packed->intermediate_size,
                                                      .columns = packed->hidden_size,
                                                      .n_masks = packed->n_masks,
                                                      .matrices = is_plain ? 2 : 1,
                                                      .stride_bytes = packed->weight.stride_bytes};
    source = source_of(&packed->weight, value, packed->masks, &weights->projection);
    status = upload_matrix(weights, &source, &weights->projection);
    if (status == MGLU_OK && packed->router.data) {
        weights->router = (struct mglu_opencl_matrix){.dtype = MGLU_DTYPE_F32,
                                                      .rows = packed->n_masks,
                                                      .columns = packed->hidden_size,
                                                      .matrices = 1,
                                                      .stride_bytes = packed->router.stride_bytes};
        source = source_of(&packed->router, NULL, NULL, &weights->router);
        status = upload_matrix(weights, &source, &weights->router);
    }
    if (status == MGLU_OK && packed->output_size > 0) {
        weights->down = (struct mglu_opencl_matrix){.dtype = packed->dtype,
                                                    .rows = packed->output_size,
                                                    .columns = packed->intermediate_size,
                                                    .matrices = 1,
                                                    .stride_bytes = packed->down.stride_bytes};
        source = source_of(&packed->down, NULL, NULL, &weights->down);
        status = upload_matrix(weights, &source, &weights->down);
    }
    return status;
}

static mglu_status upload_all(struct mglu_opencl_weights *weights, const mglu_packed_weights *packed)
{
    const size_t terms = packed->n_masks ? (size_t)packed->n_masks : 1;
    const size_t bias = terms * (size_t)packed->intermediate_size * sizeof(float);
    mglu_status status = upload_matrices(weights, packed);

    if (status == MGLU_OK)
        status = upload(weights, packed->gate_bias, 0, bias, &weights->gate_bias);
    if (status == MGLU_OK)
        status = upload(weights, packed->value_bias, 0, bias, &weights->value_bias);
    if (status == MGLU_OK)
        status =
            upload(weights, packed->down_bias, 0, (size_t)packed->output_size * sizeof(float), &weights->down_bias);
    return status;
}

/* Releases a buffer that the weights own. */
static void release(struct mglu_opencl_weights *weights, cl_mem buffer)
{
    if (buffer != weights->device->empty_buffer)
        mglu_opencl_buffer_release(weights->device, buffer);
}

static void free_matrix(struct mglu_opencl_weights *weights, struct mglu_opencl_matrix *matrix)
{
    const int64_t step = matrix->count ? matrix->parts[0].rows : 1;
    const int64_t allocated = (matrix->rows + step - 1) / step;

    for (int32_t i = 0; i < matrix->count; i++) {
        release(weights, matrix->parts[i].weight);
        release(weights, matrix->parts[i].scales);
        release(weights, matrix->parts[i].value);
        release(weights, matrix->parts[i].value_scales);
        release(weights, matrix->parts[i].masks);
    }
    mglu_opencl_release(weights->device->backend->host, matrix->parts, (size_t)allocated * sizeof *matrix->parts);
}

void mglu_opencl_weights_destroy(void *backend, void *weights)
{
    struct mglu_opencl_weights *self = weights;

    free_matrix(self, &self->projection);
    free_matrix(self, &self->router);
    free_matrix(self, &self->down);
    release(self, self->gate_bias);
    release(self, self->value_bias);
    release(self, self->down_bias);
    mglu_opencl_release(self->device->backend->host, self, sizeof *self);
}

mglu_status mglu_opencl_weights_create(void *backend, int32_t ordinal, const mglu_packed_weights *packed,
                                       void **weights)
{
    struct mglu_opencl_device *device = device_of(backend, ordinal);
    mglu_status status = mglu_opencl_device_start(device, NULL);
    struct mglu_opencl_weights *made;

    if (status != MGLU_OK)
        return status;
    made = mglu_opencl_allocate(device->backend->host, sizeof *made);
    if (!made)
        return device->backend->host->fail(MGLU_ERROR_OUT_OF_MEMORY, "out of memory");
    *made = (struct mglu_opencl_weights){.device = device, .shape = *packed};
    status = upload_all(made, packed);
    if (status != MGLU_OK)
        mglu_opencl_weights_destroy(backend, made);
    else
        *weights = made;
    return status;
}

uint64_t mglu_opencl_weights_bytes(void *backend, const void *weights)
{
    return ((const struct mglu_opencl_weights *)weights)->bytes;
}
