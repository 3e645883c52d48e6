/* SPDX-License-Identifier: MIT */
#include "common/core/quantise.h"
#include "common/dispatch/objects.h"

#include <mglu/pack.h>

#define INVALID(...) mglu_fail(MGLU_ERROR_INVALID_ARGUMENT, __VA_ARGS__)

/* Some rows of the projection, which are columns of the biases and of W_o. */
struct range {
    int64_t first, count;
};

static mglu_array with_strides(const mglu_array *whole, int64_t columns)
{
    mglu_array part = *whole;

    if (!part.stride_bytes)
        part.stride_bytes = mglu_row_bytes(part.dtype, (size_t)columns);
    if (!part.scale_stride_bytes)
        part.scale_stride_bytes = mglu_scale_row_bytes(part.dtype, (size_t)columns);
    return part;
}

static mglu_array shifted(mglu_array part, size_t bytes, size_t scale_bytes)
{
    if (part.data)
        part.data = (const char *)part.data + bytes;
    if (part.scales)
        part.scales = (const char *)part.scales + scale_bytes;
    return part;
}

static mglu_array rows_of(const mglu_array *whole, int64_t columns, int64_t first)
{
    const mglu_array part = with_strides(whole, columns);

    return shifted(part, (size_t)first * part.stride_bytes, (size_t)first * part.scale_stride_bytes);
}

static mglu_array columns_of(const mglu_array *whole, int64_t columns, int64_t first)
{
    const mglu_array part = with_strides(whole, columns);

    return shifted(part, mglu_row_bytes(part.dtype, (size_t)first), mglu_scale_row_bytes(part.dtype, (size_t)first));
}

/* Whether only some rows are taken, so that rows of W_o are not whole. */
static int cuts_down(const mglu_weights_desc *whole, struct range range)
{
    return whole->down.data && range.count > 0 && range.count < whole->intermediate_size;
}

/* Columns of a quantised W_o are taken in groups, which have a scale each. */
static int cuts_group(const mglu_weights_desc *whole, struct range range)
{
    const int64_t last = range.first + range.count;

    return whole->down.data && mglu_dtype_is_quantised(whole->down.dtype) &&
           (range.first % MGLU_GROUP_COLUMNS || (last < whole->intermediate_size && last % MGLU_GROUP_COLUMNS));
}

static mglu_status check_range(const mglu_weights_desc *whole, struct range range)
{
    const int64_t d = whole->intermediate_size;

    if (range.first < 0 || range.count < 0 || range.first > d || range.count > d - range.first)
        return INVALID("rows: %lld rows from %lld on, the layer has %lld", (long long)range.count,
                       (long long)range.first, (long long)d);
    if (cuts_group(whole, range))
        return INVALID("rows: %lld rows from %lld on: with a down-projection in %s, parts begin at multiples of %d",
                       (long long)range.count, (long long)range.first, mglu_dtype_name(whole->down.dtype),
                       MGLU_GROUP_COLUMNS);
    if (cuts_down(whole, range) && whole->flags & MGLU_WEIGHTS_REQUIRE_BORROW)
        return INVALID("rows: MGLU_WEIGHTS_REQUIRE_BORROW: columns of the down-projection are always copied");
    if (whole->masks.data && whole->masks.form != MGLU_MASK_WORDS)
        return INVALID("rows: masks must be MGLU_MASK_WORDS, see mglu_pack_masks()");
    return MGLU_OK;
}

/* Whether columns of W_o would be taken for packed rows, with other columns where padding is expected. */
static int seems_packed(const mglu_weights_desc *whole, struct range range)
{
    return cuts_down(whole, range) && mglu_packed_weight_stride_bytes(whole->dtype, range.count) ==
                                          mglu_packed_weight_stride_bytes(whole->dtype, whole->intermediate_size);
}

static mglu_weights_desc take_rows(const mglu_weights_desc *whole, struct range range)
{
    const int64_t h = whole->hidden_size, d = whole->intermediate_size, first = range.first;
    mglu_weights_desc part = *whole;

    if (seems_packed(whole, range))
        part.flags &= ~(uint32_t)MGLU_WEIGHTS_BORROW;
    part.intermediate_size = range.count;
    part.weight = rows_of(&whole->weight, h, first);
    part.value_weight = rows_of(&whole->value_weight, h, first);
    part.gate_bias = columns_of(&whole->gate_bias, d, first);
    part.value_bias = columns_of(&whole->value_bias, d, first);
    part.down = columns_of(&whole->down, d, first);
    if (whole->masks.data)
        part.masks.data =
            (const char *)whole->masks.data + (size_t)first * mglu_packed_mask_stride_bytes(whole->n_masks, h);
    if (first > 0 || (range.count == 0 && d > 0)) /* in one part only, so that it is in their sum once */
        part.down_bias.data = NULL;
    return part;
}

static mglu_status write_rows(const mglu_weights_desc *whole, struct range range, mglu_weights_desc *rows)
{
    mglu_status status = check_range(whole, range);
    mglu_weights_desc part;

    if (status != MGLU_OK)
        return status;
    part = take_rows(whole, range);
    return mglu_struct_write("mglu_weights_desc", rows, MGLU_FIRST_SIZE(mglu_weights_desc, down_bias), &part,
                             sizeof part);
}

mglu_status mglu_weights_desc_rows(const mglu_weights_desc *whole, int64_t first, int64_t count,
                                   mglu_weights_desc *rows)
{
    mglu_weights_desc known;
    mglu_status status = mglu_struct_read("mglu_weights_desc", &known, sizeof known,
                                          MGLU_FIRST_SIZE(mglu_weights_desc, down_bias), whole);

    if (status == MGLU_OK)
        status = mglu_validate_weights(&known);
    return status == MGLU_OK ? write_rows(&known, (struct range){first, count}, rows) : status;
}

static mglu_array packed_array(const mglu_packed_matrix *matrix, mglu_dtype dtype)
{
    return (mglu_array){matrix->data, dtype, matrix->stride_bytes, matrix->scales, matrix->scale_stride_bytes};
}

static mglu_array packed_vectors(const float *vectors)
{
    return (mglu_array){.data = vectors, .dtype = MGLU_DTYPE_F32};
}

/* The desc that packed arrays in host memory would be made of, without copying them or checking them again. */
static mglu_weights_desc desc_of(const mglu_packed_weights *packed)
{
    return (mglu_weights_desc){
        .struct_size = sizeof(mglu_weights_desc),
        .flags = MGLU_WEIGHTS_BORROW | MGLU_WEIGHTS_CHECKED,
        .kind = packed->kind,
        .dtype = packed->dtype,
        .hidden_size = packed->hidden_size,
        .intermediate_size = packed->intermediate_size,
        .output_size = packed->output_size,
        .n_masks = packed->n_masks,
        .weight = packed_array(&packed->weight, packed->dtype),
        .value_weight = packed_array(&packed->value_weight, packed->dtype),
        .masks = {packed->masks, MGLU_MASK_WORDS},
        .gate_bias = packed_vectors(packed->gate_bias),
        .value_bias = packed_vectors(packed->value_bias),
        .router = packed_array(&packed->router, MGLU_DTYPE_F32),
        .down = packed_array(&packed->down, packed->dtype),
        .down_bias = packed_vectors(packed->down_bias),
    };
}

mglu_status mglu_weights_rows(const mglu_weights *weights, int64_t first, int64_t count, mglu_weights_desc *rows)
{
    mglu_weights_desc whole;

    if (!weights)
        return INVALID("weights is NULL");
    if (!weights->device->info.host_memory)
        return mglu_fail(MGLU_ERROR_UNSUPPORTED,
                         "rows: backend '%s' has memory of its own; take rows of the desc, before creation",
                         weights->device->backend.fns->name);
    whole = desc_of(&weights->packed);
    return write_rows(&whole, (struct range){first, count}, rows);
}
