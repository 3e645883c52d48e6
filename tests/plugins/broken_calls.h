/* SPDX-License-Identifier: MIT */
#ifndef MGLU_TEST_BROKEN_CALLS_H
#define MGLU_TEST_BROKEN_CALLS_H

/* A part of broken.c: violations that show when a layer is made or computes. First those of the contract of calls. */

static mglu_status refuse_plain(void *backend, int32_t ordinal, const mglu_layer_plan *plan, void *weights,
                                void **layer)
{
    if (plan->shape->kind == MGLU_KIND_PLAIN)
        return ((struct sample *)backend)->host->fail(MGLU_ERROR_UNSUPPORTED, "sample: plain layers are not supported");
    return layer_create(backend, ordinal, plan, weights, layer);
}

static void set_refuses_plain(mglu_backend_fns *fns)
{
    fns->layer_create = refuse_plain;
}

static mglu_status take_bf16_for_f16(void *backend, int32_t ordinal, const mglu_packed_weights *packed, void **weights)
{
    mglu_packed_weights mistaken = *packed;

    if (mistaken.dtype == MGLU_DTYPE_BF16)
        mistaken.dtype = MGLU_DTYPE_F16;
    return weights_create(backend, ordinal, &mistaken, weights);
}

static void set_bf16_as_f16(mglu_backend_fns *fns)
{
    fns->weights_create = take_bf16_for_f16;
}

static mglu_status forward_and_round_up(void *backend, void *layer, void *queue, const mglu_forward_args *args)
{
    mglu_status status = forward(backend, layer, queue, args);

    fesetround(FE_UPWARD);
    return status;
}

static void set_changes_rounding(mglu_backend_fns *fns)
{
    fns->forward = forward_and_round_up;
}

/* Violations of the memory layout. */

static int64_t columns_of_y(const struct sample *layer)
{
    return layer->packed.output_size ? layer->packed.output_size : layer->packed.intermediate_size;
}

static mglu_status write_past_y(void *backend, void *layer, void *queue, const mglu_forward_args *args)
{
    const struct sample *self = layer;
    int64_t past = (args->batch - 1) * args->y.row_stride + columns_of_y(self);
    size_t size = mglu_dtype_size(self->desc.y_dtype);

    memset((char *)args->y.data + args->y.byte_offset + (size_t)past * size, 0x3f, size);
    return forward(backend, layer, queue, args);
}

static void set_writes_past_y(mglu_backend_fns *fns)
{
    fns->forward = write_past_y;
}

static mglu_status forward_dense(void *backend, void *layer, void *queue, const mglu_forward_args *args)
{
    mglu_forward_args dense = *args;

    dense.y.row_stride = columns_of_y(layer);
    return forward(backend, layer, queue, &dense);
}

static void set_ignores_stride(mglu_backend_fns *fns)
{
    fns->forward = forward_dense;
}

/* Omits z, which is stored after x. */
static size_t workspace_without_z(void *backend, int32_t ordinal, const mglu_layer_plan *plan, int64_t batch)
{
    return (size_t)plan->shape->hidden_size * sizeof(float);
}

static void set_small_workspace(mglu_backend_fns *fns)
{
    fns->workspace_size = workspace_without_z;
}

/* Errors of the arithmetic. */

static uint32_t reversed(uint32_t word)
{
    uint32_t result = 0;

    for (int i = 0; i < 32; i++)
        result |= (word >> i & 1) << (31 - i);
    return result;
}

static mglu_status reverse_masks(void *backend, int32_t ordinal, const mglu_packed_weights *packed, void **weights)
{
    mglu_packed_weights mistaken = *packed;
    size_t size = mglu_packed_mask_size(packed->n_masks, packed->intermediate_size, packed->hidden_size);
    uint32_t *masks = malloc(size + 1);
    mglu_status status;

    if (!masks)
        return ((struct sample *)backend)->host->fail(MGLU_ERROR_OUT_OF_MEMORY, "out of memory");
    for (size_t i = 0; i < size / sizeof *masks; i++)
        masks[i] = reversed(packed->masks[i]);
    mistaken.masks = packed->masks ? masks : NULL;
    status = weights_create(backend, ordinal, &mistaken, weights);
    if (status != MGLU_OK || !packed->masks)
        free(masks);
    return status;
}

static void destroy_reversed(void *backend, void *weights)
{
    free((void *)((struct sample *)weights)->packed.masks);
    destroy(backend, weights);
}

static void set_reversed_masks(mglu_backend_fns *fns)
{
    fns->weights_create = reverse_masks;
    fns->weights_destroy = destroy_reversed;
}

static mglu_status forward_first_masks(void *backend, void *layer, void *queue, const mglu_forward_args *args)
{
    static const int32_t first[MGLU_MAX_MASKS] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    mglu_forward_args mistaken = *args;

    if (args->routing_ids.data)
        mistaken.routing_ids = (mglu_input){.data = first};
    return forward(backend, layer, queue, &mistaken);
}

static void set_ignores_routing(mglu_backend_fns *fns)
{
    fns->forward = forward_first_masks;
}

/* Not thread-safe: results are written to one static buffer and then copied. */

static char shared_rows[1 << 20];

static mglu_status forward_through_static(void *backend, void *layer, void *queue, const mglu_forward_args *args)
{
    const struct timespec a_moment = {.tv_nsec = 50000};
    const struct sample *self = layer;
    size_t size = mglu_dtype_size(self->desc.y_dtype), row = (size_t)columns_of_y(self) * size;
    mglu_forward_args inner = *args;
    mglu_status status;

    if ((size_t)args->batch * row > sizeof shared_rows)
        return forward(backend, layer, queue, args);
    inner.y = (mglu_output){.data = shared_rows, .row_stride = columns_of_y(self)};
    status = forward(backend, layer, queue, &inner);
    nanosleep(&a_moment, NULL);
    for (int64_t b = 0; b < args->batch; b++)
        memcpy((char *)args->y.data + args->y.byte_offset + (size_t)(b * args->y.row_stride) * size,
               shared_rows + (size_t)b * row, row);
    return status;
}

static void set_static_buffer(mglu_backend_fns *fns)
{
    fns->forward = forward_through_static;
}

#endif
