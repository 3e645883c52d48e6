/* SPDX-License-Identifier: MIT */
#include "api_arguments.h"

#include <mglu/pack.h>

#include <stdlib.h>
#include <string.h>

enum { MOST_BLOCKS = 512, MOST_BYTES = 1 << 20 };

static struct {
    void *blocks[MOST_BLOCKS];
    size_t count, bytes;
} memory;

static int has_room(size_t size)
{
    return memory.count < MOST_BLOCKS && size <= MOST_BYTES - memory.bytes;
}

static void *keep(void *block, size_t size)
{
    fuzz_require(block != NULL, "out of memory");
    memory.bytes += size;
    memory.blocks[memory.count++] = block;
    return block;
}

/* Zeros, small positive numbers in every float type, or anything. */
static void fill(struct fuzz_stream *stream, unsigned char *bytes, size_t size)
{
    static const unsigned char masks[] = {0, 0x01, 0x3f, 0x3f, 0x3f, 0xbf, 0xff, 0x00};
    const uint8_t choice = fuzz_byte(stream);
    uint32_t state = choice + 1u;

    for (size_t i = 0; i < size; i++) {
        state = state * 1664525u + 1013904223u;
        bytes[i] = (unsigned char)(state >> 24) & masks[choice % 8];
    }
}

/* Aligned to 64 bytes or only as malloc() does: aligned arrays may be borrowed. */
void *api_bytes(struct fuzz_stream *stream, size_t size)
{
    const size_t alignment = fuzz_byte(stream) & 1 ? 64 : sizeof(void *);
    void *block = NULL;

    if (!has_room(size) || posix_memalign(&block, alignment, size ? size : 1) != 0)
        return NULL;
    fill(stream, keep(block, size), size);
    return block;
}

void *api_aligned(size_t size)
{
    void *block = NULL;

    if (size == 0 || !has_room(size))
        return NULL;
    fuzz_require(posix_memalign(&block, 64, size) == 0, "out of memory");
    memset(block, 0xff, size);
    return keep(block, size);
}

void api_free_all(void)
{
    while (memory.count)
        free(memory.blocks[--memory.count]);
    memory.bytes = 0;
}

int api_is_rare(struct fuzz_stream *stream)
{
    return fuzz_byte(stream) >= 0xf8;
}

/* Older versions had fewer members, never parts of one. */
static size_t any_struct_size(struct fuzz_stream *stream, size_t least, size_t size)
{
    const size_t chosen = fuzz_below(stream, (uint32_t)size + 24);

    if (chosen < sizeof(uint32_t) || chosen >= size)
        return chosen;
    return chosen < least ? chosen / sizeof(void *) * sizeof(void *) : least;
}

void *api_struct(struct fuzz_stream *stream, const void *members, size_t least, size_t size)
{
    const size_t chosen = api_is_rare(stream) ? any_struct_size(stream, least, size) : size;
    const uint32_t struct_size = (uint32_t)chosen;
    unsigned char *copy;

    copy = api_bytes(stream, chosen < sizeof struct_size ? sizeof struct_size : chosen);
    if (!copy)
        return NULL;
    memcpy(copy, members, chosen < size ? chosen : size);
    if (chosen > size && fuzz_byte(stream) & 1)
        memset(copy + size, 0, chosen - size);
    memcpy(copy, &struct_size, sizeof struct_size);
    return copy;
}

void api_run_backwards(void *user, int64_t count, mglu_task task, void *argument)
{
    while (count > 0)
        task(argument, --count);
}

const mglu_parallel *api_parallel(struct fuzz_stream *stream)
{
    static const mglu_parallel pool = {.parallel_for = api_run_backwards}, broken = {0};

    if (api_is_rare(stream))
        return &broken;
    return fuzz_byte(stream) & 1 ? &pool : NULL;
}

int api_choice(struct fuzz_stream *stream, int count)
{
    return api_is_rare(stream) ? (int)fuzz_number(stream, 4) : (int)fuzz_below(stream, (uint32_t)count);
}

const char *api_text(struct fuzz_stream *stream)
{
    static const char *const texts[] = {"ref",  "cpu",  "auto", "none", "baseline", "avx2", "avx512", "neon",
                                        "cuda", "silu", "f16",  "q4_0", "",         "\n",   "\xff",   NULL};

    return texts[fuzz_below(stream, sizeof texts / sizeof texts[0])];
}

int64_t api_size(struct fuzz_stream *stream)
{
    static const int64_t strange[] = {0, -1, INT64_MIN, INT64_MAX, MGLU_MAX_SIZE + 1, 1 << 10, 129, 64};

    return api_is_rare(stream) ? strange[fuzz_byte(stream) % 8] : 1 + fuzz_byte(stream) % 48;
}

static int is_size(int64_t size)
{
    return size >= 0 && size <= MGLU_MAX_SIZE;
}

static size_t bytes_of(mglu_dtype dtype, int64_t columns)
{
    if (dtype == MGLU_DTYPE_Q8_0)
        return (size_t)columns;
    if (dtype == MGLU_DTYPE_Q4_0)
        return (size_t)(columns + 31) / 32 * 16;
    return (size_t)columns * (dtype == MGLU_DTYPE_F32 ? 4 : 2);
}

/* Sizes that must be refused need no memory, but an address. The last row ends with its elements, or as the others. */
static void *rows_of(struct fuzz_stream *stream, int64_t rows, int64_t columns, size_t row_bytes, size_t stride,
                     bool is_padded)
{
    const size_t step = stride > row_bytes ? stride : row_bytes;

    if (!is_size(rows) || !is_size(columns))
        return api_bytes(stream, 1);
    return api_bytes(stream, rows ? (size_t)(rows - 1) * step + (is_padded ? step : row_bytes) : 0);
}

mglu_array api_array(struct fuzz_stream *stream, uint32_t flags, mglu_dtype dtype, int64_t rows, int64_t columns)
{
    const int64_t known_columns = is_size(columns) ? columns : 0;
    mglu_array array = {.dtype = api_is_rare(stream) ? (mglu_dtype)api_choice(stream, MGLU_DTYPE_COUNT) : dtype};
    const size_t row_bytes = bytes_of(array.dtype, known_columns), groups = (size_t)(known_columns + 31) / 32;
    const uint8_t choice = fuzz_byte(stream);

    if (choice >= 0xfc)
        return array;
    if (choice & 1)
        array.stride_bytes = row_bytes + (choice >> 4);
    if (choice >= 0xf0 && row_bytes)
        array.stride_bytes = row_bytes - 1;
    array.data = rows_of(stream, rows, columns, row_bytes, array.stride_bytes, flags & MGLU_WEIGHTS_BORROW);
    if (mglu_dtype_is_quantised(array.dtype) != api_is_rare(stream)) {
        array.scale_stride_bytes = choice & 2 ? 2 * groups + (choice >> 5) * 2 : 0;
        array.scales = rows_of(stream, rows, columns, 2 * groups, array.scale_stride_bytes, false);
    }
    return array;
}

mglu_mask_array api_masks(struct fuzz_stream *stream, const mglu_weights_desc *desc)
{
    const size_t d = (size_t)desc->intermediate_size, h = (size_t)desc->hidden_size, n = (size_t)desc->n_masks;
    const size_t sizes[] = {
        [MGLU_MASK_WORDS] = d * ((h + 31) / 32) * n * 4, [MGLU_MASK_BYTES] = n * d * h,
        [MGLU_MASK_LOGITS_F32] = n * d * h * 4,          [MGLU_MASK_LOGITS_F16] = n * d * h * 2,
        [MGLU_MASK_LOGITS_BF16] = n * d * h * 2,         [MGLU_MASK_BITS] = n * d * ((h + 7) / 8),
    };
    mglu_mask_array masks = {.form = (mglu_mask_form)api_choice(stream, MGLU_MASK_BITS + 1)};

    if (api_is_rare(stream))
        return masks;
    if (!is_size(desc->intermediate_size) || !is_size(desc->hidden_size) || n > MGLU_MAX_MASKS ||
        (unsigned)masks.form > MGLU_MASK_BITS)
        masks.data = api_bytes(stream, 1); /* must be refused */
    else
        masks.data = api_bytes(stream, sizes[masks.form]);
    return masks;
}

static void add_optional_arrays(struct fuzz_stream *stream, mglu_weights_desc *desc, int64_t terms)
{
    static const mglu_dtype dtypes[] = {MGLU_DTYPE_F32, MGLU_DTYPE_F16, MGLU_DTYPE_BF16, MGLU_DTYPE_F32};
    const uint8_t present = fuzz_byte(stream);
    const mglu_dtype dtype = dtypes[present >> 6];

    if (present & 1)
        desc->gate_bias = api_array(stream, desc->flags, dtype, terms, desc->intermediate_size);
    if (present & 2)
        desc->value_bias = api_array(stream, desc->flags, dtype, terms, desc->intermediate_size);
    if (present & 4 && (desc->kind == MGLU_KIND_MASKED || api_is_rare(stream)))
        desc->router = api_array(stream, desc->flags, dtype, terms, desc->hidden_size);
    if (present & 8)
        desc->output_size = api_size(stream);
    if (desc->output_size || api_is_rare(stream))
        desc->down = api_array(stream, desc->flags, desc->dtype, desc->output_size, desc->intermediate_size);
    if (present & 16 && (desc->output_size || api_is_rare(stream)))
        desc->down_bias = api_array(stream, desc->flags, dtype, 1, desc->output_size);
}

mglu_weights_desc api_weights(struct fuzz_stream *stream)
{
    mglu_weights_desc desc = {
        .flags = api_is_rare(stream) ? (uint32_t)fuzz_number(stream, 4) : fuzz_below(stream, 4),
        .kind = (mglu_kind)api_choice(stream, 2),
        .dtype = (mglu_dtype)api_choice(stream, MGLU_DTYPE_COUNT),
        .hidden_size = api_size(stream),
        .intermediate_size = api_size(stream),
        .reserved = api_is_rare(stream),
    };
    int64_t terms;

    desc.n_masks = desc.kind == MGLU_KIND_PLAIN ? 0 : 1 + (int32_t)fuzz_below(stream, MGLU_MAX_MASKS);
    if (api_is_rare(stream))
        desc.n_masks = (int32_t)fuzz_number(stream, 4);
    terms = desc.kind == MGLU_KIND_MASKED && desc.n_masks >= 0 && desc.n_masks <= MGLU_MAX_MASKS ? desc.n_masks : 1;
    desc.weight = api_array(stream, desc.flags, desc.dtype, desc.intermediate_size, desc.hidden_size);
    if (desc.kind != MGLU_KIND_MASKED || api_is_rare(stream))
        desc.value_weight = api_array(stream, desc.flags, desc.dtype, desc.intermediate_size, desc.hidden_size);
    if (desc.kind == MGLU_KIND_MASKED || api_is_rare(stream))
        desc.masks = api_masks(stream, &desc);
    add_optional_arrays(stream, &desc, terms);
    desc.parallel = api_parallel(stream);
    return desc;
}

mglu_layer_desc api_layer(struct fuzz_stream *stream, int32_t n_masks)
{
    static const int64_t strange[] = {0, -1, MGLU_MAX_BATCH, MGLU_MAX_BATCH + 1, INT64_MAX, INT64_MIN, 1000, 33};
    mglu_layer_desc desc = {
        .flags = api_is_rare(stream) ? (uint32_t)fuzz_number(stream, 4) : fuzz_below(stream, 4),
        .activation = (mglu_activation)api_choice(stream, MGLU_ACTIVATION_COUNT),
        .x_dtype = (mglu_dtype)api_choice(stream, 3),
        .y_dtype = (mglu_dtype)api_choice(stream, 3),
        .reserved = api_is_rare(stream),
        .max_batch = api_is_rare(stream) ? strange[fuzz_byte(stream) % 8] : 1 + fuzz_byte(stream) % 9,
    };
    const uint32_t beta = api_is_rare(stream) ? (uint32_t)fuzz_number(stream, 4) : 0;

    memcpy(&desc.silu_beta, &beta, sizeof beta);
    if (n_masks > 0 && fuzz_byte(stream) & 1)
        desc.top_k = 1 + (int32_t)fuzz_below(stream, (uint32_t)n_masks);
    if (api_is_rare(stream))
        desc.top_k = (int32_t)fuzz_number(stream, 4);
    return desc;
}

/* A stride in elements: none, exact, with gaps, too short, or so long that the rows do not fit into memory. */
static int64_t any_stride(struct fuzz_stream *stream, int64_t columns)
{
    const int64_t strides[] = {0,           0,           0,         columns, columns + 1,
                               columns + 7, columns - 1, INT64_MIN, -1,      INT64_MAX / 2 + 1};
    const size_t common = 6;

    return strides[fuzz_below(stream, api_is_rare(stream) ? sizeof strides / sizeof strides[0] : common)];
}

mglu_input api_rows(struct fuzz_stream *stream, int64_t batch, int64_t columns, size_t element)
{
    mglu_input rows = {.row_stride = any_stride(stream, columns)};
    const int64_t stride = rows.row_stride > columns && rows.row_stride < columns + 8 ? rows.row_stride : columns;

    if (api_is_rare(stream))
        return rows;
    rows.byte_offset = api_is_rare(stream) ? element * fuzz_below(stream, 9) : 0;
    if (batch > 0 && batch <= 64)
        rows.data = api_bytes(stream, rows.byte_offset + (size_t)((batch - 1) * stride + columns) * element);
    else
        rows.data = api_bytes(stream, 1); /* must be refused, or has no rows */
    return rows;
}

static void add_routing(struct fuzz_stream *stream, mglu_forward_args *args, int32_t top_k, int32_t n_masks)
{
    int32_t *ids;

    args->routing_ids = api_rows(stream, args->batch, top_k, sizeof *ids);
    args->routing_weights = api_rows(stream, args->batch, top_k, sizeof(float));
    ids = (int32_t *)((uintptr_t)args->routing_ids.data + args->routing_ids.byte_offset);
    if (!args->routing_ids.data || args->batch < 1 || args->batch > 64 || api_is_rare(stream))
        return;
    for (int64_t i = 0; i < (args->routing_ids.row_stride ? 1 : args->batch) * top_k; i++)
        ids[i] = (int32_t)fuzz_below(stream, (uint32_t)n_masks);
}

static void add_workspace(struct fuzz_stream *stream, mglu_forward_args *args, size_t size)
{
    args->workspace_size = api_is_rare(stream) && size ? size - 1 : size;
    args->workspace = api_aligned(args->workspace_size + 1);
    if (api_is_rare(stream) && args->workspace)
        args->workspace = (char *)args->workspace + 1;
    if (!args->workspace || api_is_rare(stream))
        args->workspace_size = 0;
}

/* Whether rows of y lie within those of x, also with the same stride, which counts elements. */
static bool fits_in(int64_t y_columns, size_t y_element, int64_t x_columns, size_t x_element)
{
    return y_element <= x_element && y_columns * (int64_t)y_element <= x_columns * (int64_t)x_element;
}

mglu_forward_args api_forward(struct fuzz_stream *stream, const mglu_weights_desc *weights,
                              const mglu_layer_desc *layer, size_t workspace_size)
{
    const int64_t columns = weights->output_size ? weights->output_size : weights->intermediate_size;
    const int64_t most = layer->max_batch < 64 ? layer->max_batch : 64;
    const size_t x_element = mglu_dtype_size(layer->x_dtype), y_element = mglu_dtype_size(layer->y_dtype);
    mglu_forward_args args = {.batch = (int64_t)fuzz_below(stream, (uint32_t)most + 1)};
    mglu_input y;

    if (api_is_rare(stream))
        args.batch = fuzz_byte(stream) & 1 ? -1 : INT64_MAX;
    args.reserved = api_is_rare(stream);
    args.x = api_rows(stream, args.batch, weights->hidden_size, x_element);
    y = api_is_rare(stream) ? args.x : api_rows(stream, args.batch, columns, y_element);
    if (y.data == args.x.data && !fits_in(columns, y_element, weights->hidden_size, x_element))
        y.data = NULL;
    args.y = (mglu_output){(void *)(uintptr_t)y.data, y.byte_offset, y.row_stride};
    if (fuzz_byte(stream) & 1)
        args.residual = fuzz_byte(stream) & 1 ? y : api_rows(stream, args.batch, columns, y_element);
    if (layer->top_k > 0 ? !weights->router.data || fuzz_byte(stream) & 1 : api_is_rare(stream))
        add_routing(stream, &args, layer->top_k > 0 ? layer->top_k : 1, weights->n_masks ? weights->n_masks : 1);
    add_workspace(stream, &args, workspace_size);
    return args;
}
