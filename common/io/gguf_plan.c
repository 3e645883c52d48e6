/* SPDX-License-Identifier: MIT */
#include "common/io/gguf_plan.h"

#include "common/core/ggml_block.h"
#include "common/io/gguf_types.h"
#include "common/io/reading.h"
#include "common/io/report.h"

#include <mglu/pack.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What the reader accepts as a layer's name. */
enum { MAX_LAYER_NAME = 255 };

/* The layer whose tensors are being listed. */
struct layer {
    struct mglu_io_gguf_plan *plan;
    size_t number;
    const char *name;
    mglu_weights_desc weights;
    struct mglu_io_reading reading;
};

static mglu_status refuse(const struct layer *layer, const char *text)
{
    return mglu_io_fail(MGLU_ERROR_INVALID_ARGUMENT, layer->plan->file->path, NULL, "layer '%.100s': %s", layer->name,
                        text);
}

/* A new item named blk.N.`part`; NULL when out of memory. */
static struct mglu_io_gguf_item *new_item(struct layer *layer, const char *part)
{
    struct mglu_io_gguf_plan *plan = layer->plan;
    struct mglu_io_gguf_item *item;

    if (plan->count == plan->room) {
        size_t room = plan->room + plan->room / 2 + 16;
        struct mglu_io_gguf_item *grown = realloc(plan->items, room * sizeof *grown);

        if (!grown)
            return NULL;
        plan->items = grown;
        plan->room = room;
    }
    item = &plan->items[plan->count++];
    *item = (struct mglu_io_gguf_item){.layer = layer->name};
    snprintf(item->name, sizeof item->name, "blk.%zu.%s", layer->number, part);
    return item;
}

static mglu_status add_matrix(struct layer *layer, const char *part, const mglu_array *source, int64_t rows,
                              int64_t columns)
{
    const mglu_file_pack_options *options = layer->plan->options;
    struct mglu_io_gguf_item *item;
    mglu_dtype dtype = options->convert ? options->dtype : source->dtype;
    const struct mglu_io_slice *slice = mglu_io_find_slice(&layer->reading, &source->data);
    const struct mglu_io_slice *scales = mglu_io_find_slice(&layer->reading, &source->scales);

    if (!slice)
        return MGLU_OK;
    if (rows == 0 || columns == 0)
        return refuse(layer, "a matrix without elements is not written to GGUF");
    if (mglu_dtype_is_quantised(dtype) && columns % MGLU_GROUP_COLUMNS != 0)
        return refuse(layer, "quantised rows in GGUF need a multiple of 32 columns");
    item = new_item(layer, part);
    if (!item)
        return mglu_io_out_of_memory(layer->plan->file->path);
    item->kind = MGLU_IO_GGUF_ITEM_MATRIX;
    item->source = *slice;
    if (scales)
        item->scales = *scales;
    item->source_dtype = source->dtype;
    item->dtype = dtype;
    item->rows = rows;
    item->columns = columns;
    item->type = mglu_io_ggml_type_of(dtype);
    item->rank = 2;
    item->size[0] = (uint64_t)columns;
    item->size[1] = (uint64_t)rows;
    item->bytes =
        (uint64_t)rows * (mglu_row_bytes(dtype, (size_t)columns) + mglu_scale_row_bytes(dtype, (size_t)columns));
    return MGLU_OK;
}

static mglu_status add_floats(struct layer *layer, const char *part, const mglu_array *source, int64_t rows,
                              int64_t columns, uint32_t rank)
{
    const struct mglu_io_slice *slice = mglu_io_find_slice(&layer->reading, &source->data);
    struct mglu_io_gguf_item *item;

    if (!slice)
        return MGLU_OK;
    item = new_item(layer, part);
    if (!item)
        return mglu_io_out_of_memory(layer->plan->file->path);
    item->kind = MGLU_IO_GGUF_ITEM_FLOATS;
    item->source = *slice;
    item->source_dtype = source->dtype;
    item->rows = rows;
    item->columns = columns;
    item->type = mglu_io_ggml_type_of(source->dtype);
    item->rank = rank;
    item->size[0] = (uint64_t)columns;
    item->size[1] = (uint64_t)rows;
    item->bytes = (uint64_t)rows * (uint64_t)columns * mglu_dtype_size(source->dtype);
    return MGLU_OK;
}

static mglu_status add_masks(struct layer *layer)
{
    const mglu_weights_desc *weights = &layer->weights;
    int64_t d = weights->intermediate_size, h = weights->hidden_size;
    struct mglu_io_gguf_item *item = new_item(layer, "ffn_mglu.mask");

    if (!item)
        return mglu_io_out_of_memory(layer->plan->file->path);
    item->kind = MGLU_IO_GGUF_ITEM_MASKS;
    item->masks = layer->reading.masks;
    item->rows = d;
    item->columns = h;
    item->type = MGLU_IO_GGML_I8;
    item->rank = 4;
    item->size[0] = sizeof(mglu_u32);
    item->size[1] = (uint64_t)weights->n_masks;
    item->size[2] = mglu_format_groups((uint64_t)h);
    item->size[3] = (uint64_t)d;
    item->bytes = mglu_packed_mask_size(weights->n_masks, d, h);
    return MGLU_OK;
}

static mglu_status add_masked(struct layer *layer)
{
    const mglu_weights_desc *weights = &layer->weights;
    int64_t d = weights->intermediate_size, h = weights->hidden_size, n_masks = weights->n_masks;
    mglu_status status = add_matrix(layer, "ffn_mglu.weight", &weights->weight, d, h);

    if (status == MGLU_OK)
        status = add_masks(layer);
    if (status == MGLU_OK)
        status = add_floats(layer, "ffn_mglu.gate_bias", &weights->gate_bias, n_masks, d, 2);
    if (status == MGLU_OK)
        status = add_floats(layer, "ffn_mglu.value_bias", &weights->value_bias, n_masks, d, 2);
    if (status == MGLU_OK)
        status = add_floats(layer, "ffn_mglu.router", &weights->router, n_masks, h, 2);
    return status;
}

static mglu_status add_plain(struct layer *layer)
{
    const mglu_weights_desc *weights = &layer->weights;
    int64_t d = weights->intermediate_size, h = weights->hidden_size;
    mglu_status status = add_matrix(layer, "ffn_gate.weight", &weights->weight, d, h);

    if (status == MGLU_OK)
        status = add_matrix(layer, "ffn_up.weight", &weights->value_weight, d, h);
    if (status == MGLU_OK)
        status = add_floats(layer, "ffn_gate.bias", &weights->gate_bias, 1, d, 1);
    if (status == MGLU_OK)
        status = add_floats(layer, "ffn_up.bias", &weights->value_bias, 1, d, 1);
    return status;
}

/* Finds the tensors of a layer of this name, and checks what the file says of it. */
static mglu_status locate(struct layer *layer, const char *name)
{
    mglu_layer_desc desc;
    int has_activation;
    mglu_status status;

    layer->weights = (mglu_weights_desc){.struct_size = sizeof layer->weights};
    status = mglu_io_read_layer(&layer->reading, layer->plan->file, name, MGLU_IO_LOCATE, &layer->weights);
    mglu_io_place_clear(&layer->reading.place);
    return status == MGLU_OK ? mglu_io_read_activation(&layer->reading, name, &desc, &has_activation) : status;
}

/*
 * The down-projection of the block M that a masked projection M.up_proj belongs to. Of one under another name it would
 * be lost: the reader knows M by that name alone.
 */
static mglu_status find_down(struct layer *layer)
{
    const mglu_file_tensor *matrix = mglu_io_find_slice(&layer->reading, &layer->weights.weight.data)->tensor;
    struct layer whole = *layer;
    size_t length;
    char *block;
    mglu_status status;

    if (!mglu_io_is_in_block(layer->name, &length))
        return MGLU_OK;
    block = strndup(layer->name, length);
    if (!block)
        return mglu_io_out_of_memory(layer->plan->file->path);
    status = locate(&whole, block);
    /* else M is another projection, which has no down-projection */
    if (status == MGLU_OK && mglu_io_find_slice(&whole.reading, &whole.weights.weight.data)->tensor == matrix) {
        if (whole.weights.output_size && strcmp(layer->name + length + (length > 0), "up_proj") != 0)
            status = refuse(layer, "GGUF has down-projections of masked layers named up_proj alone; rename it to that");
        else
            status = locate(layer, block);
    }
    free(block);
    return status;
}

static mglu_status add_layer(struct layer *layer)
{
    mglu_weights_desc *weights = &layer->weights;
    mglu_status status;

    if (strlen(layer->name) > MAX_LAYER_NAME)
        return refuse(layer, "its name is too long for GGUF");
    status = locate(layer, layer->name);
    if (status == MGLU_OK && weights->kind == MGLU_KIND_MASKED)
        status = find_down(layer);
    if (status == MGLU_OK)
        status = weights->kind == MGLU_KIND_MASKED ? add_masked(layer) : add_plain(layer);
    if (status == MGLU_OK)
        status = add_matrix(layer, "ffn_down.weight", &weights->down, weights->output_size, weights->intermediate_size);
    if (status == MGLU_OK)
        status = add_floats(layer, "ffn_down.bias", &weights->down_bias, 1, weights->output_size, 1);
    return status;
}

mglu_status mglu_io_gguf_plan_layers(struct mglu_io_gguf_plan *plan)
{
    mglu_status status = MGLU_OK;

    for (size_t i = 0; i < plan->file->layer_count && status == MGLU_OK; i++) {
        struct layer layer = {.plan = plan, .number = i, .name = plan->file->layers[i]};

        status = add_layer(&layer);
    }
    if (status == MGLU_OK && plan->count == 0)
        return mglu_io_fail(MGLU_ERROR_INVALID_ARGUMENT, plan->file->path, NULL, "no layers to write to GGUF");
    return status;
}
