/* SPDX-License-Identifier: MIT */
#include "common/core/convert.h"
#include "common/core/float_environment.h"
#include "common/core/pack.h"
#include "common/core/quantise.h"
#include "common/dispatch/objects.h"

#define SMALL_ALIGNMENT ((size_t)64)
#define HUGE_ALIGNMENT  ((size_t)2 << 20)
#define SLICE_BYTES     ((size_t)1 << 20)

/* One array of a layer, to be converted from the caller's form to the packed one. */
struct part {
    const char *name;
    const mglu_array *source;
    int64_t rows, columns;
    mglu_dtype dtype;
    mglu_packed_matrix *matrix; /* the output, if a matrix of padded rows, else NULL */
    const float **vector;       /* the output, if a plain f32 [rows][columns], else NULL */
};

enum { MAX_PARTS = 7 };

static int32_t term_count(const mglu_weights_desc *desc)
{
    return desc->kind == MGLU_KIND_MASKED ? desc->n_masks : 1;
}

/* The table of all arrays except the masks. Their pointers are written to `packed`. */
static size_t list_parts(const mglu_weights_desc *desc, mglu_packed_weights *packed, struct part parts[MAX_PARTS])
{
    int64_t h = desc->hidden_size, d = desc->intermediate_size, out = desc->output_size, terms = term_count(desc);
    const struct part all[MAX_PARTS] = {
        {"weight", &desc->weight, d, h, desc->dtype, &packed->weight, NULL},
        {"value_weight", &desc->value_weight, d, h, desc->dtype, &packed->value_weight, NULL},
        {"down", &desc->down, out, d, desc->dtype, &packed->down, NULL},
        {"router", &desc->router, terms, h, MGLU_DTYPE_F32, &packed->router, NULL},
        {"gate_bias", &desc->gate_bias, terms, d, MGLU_DTYPE_F32, NULL, &packed->gate_bias},
        {"value_bias", &desc->value_bias, terms, d, MGLU_DTYPE_F32, NULL, &packed->value_bias},
        {"down_bias", &desc->down_bias, 1, out, MGLU_DTYPE_F32, NULL, &packed->down_bias},
    };
    size_t count = 0;

    for (size_t i = 0; i < MAX_PARTS; i++)
        if (all[i].source->data)
            parts[count++] = all[i];
    return count;
}

static size_t part_stride(const struct part *part)
{
    return part->matrix ? mglu_packed_weight_stride_bytes(part->dtype, part->columns)
                        : (size_t)part->columns * sizeof(float);
}

static size_t part_size(const struct part *part)
{
    return (size_t)part->rows * part_stride(part);
}

static size_t scale_size(const struct part *part)
{
    return mglu_packed_scale_size(part->dtype, part->rows, part->columns);
}

static size_t aligned(size_t size)
{
    return (size + SMALL_ALIGNMENT - 1) / SMALL_ALIGNMENT * SMALL_ALIGNMENT;
}

static size_t arena_alignment(size_t size)
{
    return size >= HUGE_ALIGNMENT ? HUGE_ALIGNMENT : SMALL_ALIGNMENT;
}

/* Whether the flag MGLU_WEIGHTS_BORROW lets a device use an array in place. */
static int can_borrow(const mglu_weights *weights, const mglu_weights_desc *desc, const void *data)
{
    return desc->flags & MGLU_WEIGHTS_BORROW && weights->device->info.host_memory &&
           (uintptr_t)data % SMALL_ALIGNMENT == 0;
}

static int can_borrow_part(const mglu_weights *weights, const mglu_weights_desc *desc, const struct part *part)
{
    const mglu_array *source = part->source;
    size_t columns = (size_t)part->columns, scale_bytes = mglu_scale_row_bytes(source->dtype, columns);
    size_t stride = source->stride_bytes ? source->stride_bytes : mglu_row_bytes(source->dtype, columns);

    return part->matrix && source->dtype == part->dtype && stride == part_stride(part) &&
           (!source->scale_stride_bytes || source->scale_stride_bytes == scale_bytes) &&
           can_borrow(weights, desc, source->data) && can_borrow(weights, desc, source->scales);
}

/* Refuses what packing would have: weights that are not finite, padding that is not zero. */
static mglu_status check_borrowed(const mglu_weights_desc *desc, const struct part *part)
{
    size_t columns = (size_t)part->columns, element = mglu_dtype_size(part->dtype), stride = part_stride(part);

    if (mglu_dtype_is_quantised(part->dtype))
        return mglu_check_quantised_rows(part->name, part->source, (size_t)part->rows, columns);
    for (size_t r = 0; r < (size_t)part->rows; r++) {
        const unsigned char *row = (const unsigned char *)part->source->data + r * stride;
        size_t bad = mglu_first_nonfinite(row, part->dtype, columns);

        if (bad < columns && !(desc->flags & MGLU_WEIGHTS_ALLOW_NONFINITE))
            return mglu_fail(MGLU_ERROR_NONFINITE, "%s [%zu][%zu] is not finite", part->name, r, bad);
        for (size_t i = columns * element; i < stride; i++)
            if (row[i])
                return mglu_fail(MGLU_ERROR_INVALID_ARGUMENT, "%s: the padding of row %zu is not zero", part->name, r);
    }
    return MGLU_OK;
}

/* Sets the address of a part for the backend. */
static void point_at(const struct part *part, const void *data, const void *scales)
{
    if (part->matrix)
        *part->matrix = (mglu_packed_matrix){
            .data = data,
            .stride_bytes = part_stride(part),
            .scales = mglu_dtype_is_quantised(part->dtype) ? scales : NULL,
            .scale_stride_bytes = mglu_packed_scale_stride_bytes(part->dtype, part->columns),
        };
    else
        *part->vector = data;
}

/* Packs rows first..first + count - 1 of an array to `data`. */
struct slice {
    const struct part *part;
    int64_t first, count;
    unsigned char *data, *scales; /* of row 0 */
    int allow_nonfinite;
};

/* Also in threads of the host's. */
static mglu_status pack_slice(const struct slice *slice)
{
    MGLU_DEFAULT_FLOATS;
    const struct part *part = slice->part;
    size_t first = (size_t)slice->first, count = (size_t)slice->count, columns = (size_t)part->columns;
    unsigned char *data = slice->data + first * part_stride(part);
    mglu_array source = *part->source;
    size_t stride = source.stride_bytes ? source.stride_bytes : mglu_row_bytes(source.dtype, columns);
    size_t scale_stride =
        source.scale_stride_bytes ? source.scale_stride_bytes : mglu_scale_row_bytes(source.dtype, columns);

    source.data = (const char *)source.data + first * stride;
    if (source.scales)
        source.scales = (const char *)source.scales + first * scale_stride;
    if (mglu_dtype_is_quantised(part->dtype))
        return mglu_quantise_rows(part->name, &source, count, columns, part->dtype, data,
                                  slice->scales + first * mglu_packed_scale_stride_bytes(part->dtype, part->columns));
    return mglu_pack_rows(part->name, &source, count, columns, part->dtype, part_stride(part), slice->allow_nonfinite,
                          data);
}

/* An array to be packed by tasks of `rows` rows each. */
struct packing {
    struct slice whole;
    int64_t rows;
    atomic_int failed;
};

static void pack_some(void *argument, int64_t index)
{
    struct packing *packing = argument;
    struct slice slice = packing->whole;

    slice.first = index * packing->rows;
    slice.count = slice.count - slice.first < packing->rows ? slice.count - slice.first : packing->rows;
    if (pack_slice(&slice) != MGLU_OK)
        atomic_store_explicit(&packing->failed, 1, memory_order_relaxed);
}

/* Packs on all threads. After a failure it packs again on this one, whose text names the first faulty element. */
static mglu_status pack_part(const mglu_host *host, const struct slice *whole)
{
    size_t rows = SLICE_BYTES / (part_stride(whole->part) + 1) + 1;
    struct packing packing = {.whole = *whole, .rows = (int64_t)rows};

    atomic_init(&packing.failed, 0);
    mglu_parallel_for(host, (whole->count + packing.rows - 1) / packing.rows, pack_some, &packing);
    return atomic_load(&packing.failed) ? pack_slice(whole) : MGLU_OK;
}

/* Borrows one array or packs it at *at, which is then advanced. */
static mglu_status place_part(mglu_weights *weights, const mglu_weights_desc *desc, const struct part *part,
                              unsigned char **at)
{
    unsigned char *data = *at, *scales = data + aligned(part_size(part));
    const struct slice whole = {part, 0, part->rows, data, scales, desc->flags & MGLU_WEIGHTS_ALLOW_NONFINITE};

    if (can_borrow_part(weights, desc, part)) {
        point_at(part, part->source->data, part->source->scales);
        weights->borrowed_size += part_size(part) + scale_size(part);
        return check_borrowed(desc, part);
    }
    point_at(part, data, scales);
    *at = scales + aligned(scale_size(part));
    return pack_part(&weights->device->context->host, &whole);
}

static mglu_status place_masks(mglu_weights *weights, const mglu_weights_desc *desc, int borrow, unsigned char *at)
{
    mglu_packed_weights *packed = &weights->packed;

    if (!desc->masks.data)
        return MGLU_OK;
    if (!borrow) {
        packed->masks = (const uint32_t *)at;
        return mglu_pack_masks(&desc->masks, desc->n_masks, desc->intermediate_size, desc->hidden_size, (uint32_t *)at);
    }
    packed->masks = desc->masks.data;
    weights->borrowed_size += mglu_packed_mask_size(desc->n_masks, desc->intermediate_size, desc->hidden_size);
    return mglu_check_mask_words(packed->masks, desc->n_masks, desc->intermediate_size, desc->hidden_size);
}

/* Sets an address for required parts without elements, which may be NULL, so that backends need not check. */
static void place_empty(mglu_weights *weights)
{
    mglu_packed_weights *packed = &weights->packed;
    const struct {
        mglu_packed_matrix *matrix;
        int required;
    } parts[] = {
        {&packed->weight, 1},
        {&packed->value_weight, packed->kind == MGLU_KIND_PLAIN},
        {&packed->down, packed->output_size > 0},
    };

    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        if (parts[i].required && !parts[i].matrix->data) {
            parts[i].matrix->data = weights->arena;
            parts[i].matrix->scales = mglu_dtype_is_quantised(packed->dtype) ? weights->arena : NULL;
        }
    if (packed->kind == MGLU_KIND_MASKED && !packed->masks)
        packed->masks = weights->arena;
}

/* Makes the packed arrays in one block of memory, huge pages where it is large enough for them. */
static mglu_status pack_all(mglu_weights *weights, const mglu_weights_desc *desc)
{
    struct part parts[MAX_PARTS];
    size_t count = list_parts(desc, &weights->packed, parts), size = 0;
    int borrow_masks = desc->masks.form == MGLU_MASK_WORDS && can_borrow(weights, desc, desc->masks.data);
    mglu_status status = MGLU_OK;
    unsigned char *at;

    for (size_t i = 0; i < count; i++)
        if (!can_borrow_part(weights, desc, &parts[i]))
            size += aligned(part_size(&parts[i])) + aligned(scale_size(&parts[i]));
    if (desc->masks.data && !borrow_masks)
        size += aligned(mglu_packed_mask_size(desc->n_masks, desc->intermediate_size, desc->hidden_size));
    /* Never empty: parts without elements need an address. */
    weights->arena_size = size + SMALL_ALIGNMENT;
    weights->arena =
        mglu_host_allocate(weights->device->context, weights->arena_size, arena_alignment(weights->arena_size));
    if (!weights->arena)
        return mglu_fail(MGLU_ERROR_OUT_OF_MEMORY, "no memory for %zu bytes of weights", weights->arena_size);
    at = weights->arena;
    for (size_t i = 0; i < count && status == MGLU_OK; i++)
        status = place_part(weights, desc, &parts[i], &at);
    place_empty(weights);
    return status == MGLU_OK ? place_masks(weights, desc, borrow_masks, at) : status;
}

mglu_packed_weights mglu_weights_shape(const mglu_weights_desc *desc)
{
    mglu_packed_weights shape = {
        .struct_size = sizeof shape,
        .n_masks = desc->n_masks,
        .kind = desc->kind,
        .dtype = desc->dtype,
        .hidden_size = desc->hidden_size,
        .intermediate_size = desc->intermediate_size,
        .output_size = desc->output_size,
        .masks = desc->masks.data,
    };
    struct part parts[MAX_PARTS];
    size_t count = list_parts(desc, &shape, parts);

    for (size_t i = 0; i < count; i++)
        point_at(&parts[i], parts[i].source->data, parts[i].source->data);
    return shape;
}

static void free_arena(mglu_weights *weights)
{
    mglu_host_release(weights->device->context, weights->arena, weights->arena_size,
                      arena_alignment(weights->arena_size));
    weights->arena = NULL;
    weights->arena_size = 0;
}

static mglu_status fill_weights(mglu_weights *weights, const mglu_weights_desc *desc)
{
    mglu_device *device = weights->device;
    mglu_status status;

    weights->packed = mglu_weights_shape(desc);
    status = pack_all(weights, desc);
    if (status == MGLU_OK)
        status = device->backend.fns->weights_create(device->backend.state, device->ordinal, &weights->packed,
                                                     &weights->state);
    if (status != MGLU_OK || !device->info.host_memory)
        free_arena(weights);
    return status;
}

mglu_status mglu_weights_create(mglu_device *device, const mglu_weights_desc *desc, mglu_weights **weights)
{
    mglu_weights_desc known;
    mglu_weights *made;
    mglu_status status;

    if (!device || !weights)
        return mglu_fail(MGLU_ERROR_INVALID_ARGUMENT, "device or weights is NULL");
    *weights = NULL;
    status = mglu_device_check(device);
    if (status == MGLU_OK)
        status = mglu_struct_read("mglu_weights_desc", &known, sizeof known,
                                  MGLU_FIRST_SIZE(mglu_weights_desc, down_bias), desc);
    if (status == MGLU_OK)
        status = mglu_validate_weights(&known);
    if (status != MGLU_OK)
        return status;
    made = mglu_host_allocate(device->context, sizeof *made, _Alignof(mglu_weights));
    if (!made)
        return mglu_fail(MGLU_ERROR_OUT_OF_MEMORY, "out of memory");
    *made = (mglu_weights){.device = device};
    atomic_init(&made->refcount, 1);
    status = fill_weights(made, &known);
    if (status != MGLU_OK) {
        mglu_host_release(device->context, made, sizeof *made, _Alignof(mglu_weights));
        return status;
    }
    mglu_context_hold(device->context);
    *weights = made;
    return MGLU_OK;
}

static uint64_t projection_bytes(const mglu_packed_weights *packed)
{
    uint64_t matrix = mglu_packed_weight_size(packed->dtype, packed->intermediate_size, packed->hidden_size) +
                      mglu_packed_scale_size(packed->dtype, packed->intermediate_size, packed->hidden_size);

    if (packed->kind == MGLU_KIND_PLAIN)
        return 2 * matrix;
    return matrix + mglu_packed_mask_size(packed->n_masks, packed->intermediate_size, packed->hidden_size);
}

mglu_status mglu_weights_get_info(const mglu_weights *weights, mglu_weights_info *info)
{
    const mglu_packed_weights *packed;
    mglu_weights_info known;

    if (!weights)
        return mglu_fail(MGLU_ERROR_INVALID_ARGUMENT, "weights is NULL");
    packed = &weights->packed;
    known = (mglu_weights_info){
        .struct_size = sizeof known,
        .n_masks = packed->n_masks,
        .kind = packed->kind,
        .dtype = packed->dtype,
        .hidden_size = packed->hidden_size,
        .intermediate_size = packed->intermediate_size,
        .output_size = packed->output_size,
        .device_bytes = weights->arena_size + weights->borrowed_size +
                        weights->device->backend.fns->weights_bytes(weights->device->backend.state, weights->state),
        .projection_bytes = projection_bytes(packed),
    };
    return mglu_struct_write("mglu_weights_info", info, MGLU_FIRST_SIZE(mglu_weights_info, projection_bytes), &known,
                             sizeof known);
}

void mglu_weights_release(mglu_weights *weights)
{
    mglu_device *device = weights->device;

    if (atomic_fetch_sub_explicit(&weights->refcount, 1, memory_order_acq_rel) != 1)
        return;
    if (is_callable(device))
        device->backend.fns->weights_destroy(device->backend.state, weights->state);
    free_arena(weights);
    mglu_host_release(device->context, weights, sizeof *weights, _Alignof(mglu_weights));
    mglu_context_release(device->context);
}

void mglu_weights_destroy(mglu_weights **weights)
{
    if (!weights || !*weights)
        return;
    mglu_weights_release(*weights);
    *weights = NULL;
}
