/* SPDX-License-Identifier: MIT */
#include "common/io/gguf_write.h"

#include "common/core/ggml_block.h"
#include "common/io/gguf_plan.h"
#include "common/io/gguf_values.h"
#include "common/io/output.h"
#include "common/io/report.h"

#include <mglu/pack.h>
#include <mglu/version.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Data begin at multiples of this. */
enum { ALIGNMENT = 64, GGUF_VERSION = 3 };

/* Bytes of packed rows that are converted at once. */
enum { SLAB = 4 << 20 };

/* The header, which grows as it is written. */
struct header {
    unsigned char *bytes;
    size_t size, room;
    uint64_t texts;
    int failed;
};

static void put(struct header *header, const void *bytes, size_t count)
{
    if (header->size + count > header->room) {
        size_t room = 2 * (header->size + count) + 1024;
        unsigned char *grown = realloc(header->bytes, room);

        header->failed |= !grown;
        if (!grown)
            return;
        header->bytes = grown;
        header->room = room;
    }
    memcpy(header->bytes + header->size, bytes, count);
    header->size += count;
}

static void put_u32(struct header *header, uint32_t value)
{
    put(header, &value, sizeof value);
}

static void put_u64(struct header *header, uint64_t value)
{
    put(header, &value, sizeof value);
}

static void put_string(struct header *header, const char *text)
{
    put_u64(header, strlen(text));
    put(header, text, strlen(text));
}

static void put_text(struct header *header, const char *key, const char *value)
{
    put_string(header, key);
    put_u32(header, MGLU_IO_GGUF_STRING);
    put_string(header, value);
    header->texts++;
}

/* The activations of the source, and the names of its layers. */
static void put_metadata(struct header *header, const struct mglu_io_gguf_plan *plan)
{
    static const char activation[] = "mglu.activation";
    const mglu_file *file = plan->file;
    char text[64];

    put_text(header, "general.architecture", "mglu");
    put_string(header, "general.alignment");
    put_u32(header, MGLU_IO_GGUF_UINT32);
    put_u32(header, ALIGNMENT);
    header->texts++;
    snprintf(text, sizeof text, "%d", MGLU_FORMAT_VERSION);
    put_text(header, "mglu.version", text);
    snprintf(text, sizeof text, "mglu %s", mglu_version());
    put_text(header, "mglu.producer", text);
    if (plan->options->activation)
        put_text(header, activation, plan->options->activation);
    for (size_t i = 0; i < file->metadata_count; i++)
        if (strncmp(file->metadata[i].key, activation, strlen(activation)) == 0 &&
            !(plan->options->activation && strcmp(file->metadata[i].key, activation) == 0))
            put_text(header, file->metadata[i].key, file->metadata[i].value);
    for (size_t i = 0; i < file->layer_count; i++) {
        snprintf(text, sizeof text, "mglu.layer.%zu", i);
        put_text(header, text, file->layers[i]);
    }
}

static uint64_t aligned(uint64_t bytes)
{
    return (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

static void put_infos(struct header *header, const struct mglu_io_gguf_plan *plan)
{
    uint64_t offset = 0;

    for (size_t i = 0; i < plan->count; i++) {
        const struct mglu_io_gguf_item *item = &plan->items[i];

        put_string(header, item->name);
        put_u32(header, item->rank);
        for (uint32_t k = 0; k < item->rank; k++)
            put_u64(header, item->size[k]);
        put_u32(header, item->type);
        put_u64(header, offset);
        offset += aligned(item->bytes);
    }
}

/* Everything before the data. */
static mglu_status make_header(struct header *header, const struct mglu_io_gguf_plan *plan)
{
    static const unsigned char zeros[ALIGNMENT];
    size_t at_texts;

    put(header, "GGUF", 4);
    put_u32(header, GGUF_VERSION);
    put_u64(header, plan->count);
    at_texts = header->size;
    put_u64(header, 0);
    put_metadata(header, plan);
    put_infos(header, plan);
    put(header, zeros, (size_t)(aligned(header->size) - header->size));
    if (header->failed)
        return mglu_io_out_of_memory(plan->file->path);
    memcpy(header->bytes + at_texts, &header->texts, sizeof header->texts);
    return MGLU_OK;
}

/* Room for a slab: rows as the library packs them, their scales, and as they are in the file. */
struct slab {
    int64_t rows; /* at once */
    size_t stride, scale_stride, row_bytes;
    unsigned char *packed, *scales, *written;
};

static int slab_make(struct slab *slab, const struct mglu_io_gguf_item *item)
{
    size_t columns = (size_t)item->columns;

    slab->stride = mglu_packed_weight_stride_bytes(item->dtype, item->columns);
    slab->scale_stride = mglu_scale_row_bytes(item->dtype, columns);
    slab->row_bytes = mglu_row_bytes(item->dtype, columns) + slab->scale_stride;
    slab->rows = (int64_t)(SLAB / slab->stride) + 1;
    slab->rows = slab->rows < item->rows ? slab->rows : item->rows;
    slab->packed = malloc((size_t)slab->rows * slab->stride);
    slab->scales = malloc((size_t)slab->rows * slab->scale_stride + 1);
    slab->written = malloc((size_t)slab->rows * slab->row_bytes);
    return slab->packed && slab->scales && slab->written;
}

static void slab_free(struct slab *slab)
{
    free(slab->packed);
    free(slab->scales);
    free(slab->written);
}

/* Packed rows as they are in the file: without padding, in blocks where they are quantised. */
static void slab_convert(struct slab *slab, const struct mglu_io_gguf_item *item, int64_t rows)
{
    for (size_t r = 0; r < (size_t)rows; r++) {
        const unsigned char *row = slab->packed + r * slab->stride;
        unsigned char *to = slab->written + r * slab->row_bytes;

        if (slab->scale_stride)
            mglu_ggml_join(item->dtype, row, slab->scales + r * slab->scale_stride,
                           (size_t)item->columns / MGLU_GROUP_COLUMNS, to);
        else
            memcpy(to, row, slab->row_bytes);
    }
}

static mglu_status write_matrix(const struct mglu_io_gguf_plan *plan, const struct mglu_io_gguf_item *item,
                                struct mglu_io_output *output)
{
    mglu_array source = item->source;
    size_t columns = (size_t)item->columns;
    struct slab slab;
    mglu_status status = slab_make(&slab, item) ? MGLU_OK : mglu_io_out_of_memory(plan->file->path);

    for (int64_t row = 0; row < item->rows && status == MGLU_OK; row += slab.rows) {
        int64_t rows = item->rows - row < slab.rows ? item->rows - row : slab.rows;

        source.data = (const unsigned char *)item->source.data + (size_t)row * mglu_row_bytes(source.dtype, columns);
        if (source.scales)
            source.scales =
                (const unsigned char *)item->source.scales + (size_t)row * mglu_scale_row_bytes(source.dtype, columns);
        status = mglu_pack_weights(&source, rows, item->columns, item->dtype, 0, slab.packed, slab.scales);
        if (status != MGLU_OK)
            status = mglu_io_fail(status, plan->file->path, NULL, "layer '%.80s', %s, rows from %lld on: %s",
                                  item->layer, item->name, (long long)row, mglu_last_error());
        if (status != MGLU_OK)
            break;
        slab_convert(&slab, item, rows);
        status = mglu_io_output_write(output, slab.written, (size_t)rows * slab.row_bytes);
    }
    slab_free(&slab);
    return status;
}

static mglu_status write_floats(const struct mglu_io_gguf_plan *plan, const struct mglu_io_gguf_item *item,
                                struct mglu_io_output *output)
{
    size_t count = (size_t)(item->rows * item->columns);
    size_t bad = mglu_first_nonfinite(item->source.data, item->source.dtype, count);

    if (bad < count)
        return mglu_io_fail(MGLU_ERROR_NONFINITE, plan->file->path, NULL,
                            "layer '%.80s', %s: element %zu is not finite", item->layer, item->name, bad);
    return mglu_io_output_write(output, item->source.data, (size_t)item->bytes);
}

static mglu_status write_masks(const struct mglu_io_gguf_plan *plan, const struct mglu_io_gguf_item *item,
                               struct mglu_io_output *output)
{
    mglu_status status;
    uint32_t *words;

    if (item->masks.form == MGLU_MASK_WORDS)
        return mglu_io_output_write(output, item->masks.data, (size_t)item->bytes);
    words = malloc((size_t)item->bytes);
    if (!words)
        return mglu_io_out_of_memory(plan->file->path);
    status = mglu_pack_masks(&item->masks, item->n_masks, item->rows, item->columns, words);
    if (status != MGLU_OK) /* a value of the file, not an argument */
        status = mglu_io_fail(item->masks.form == MGLU_MASK_BYTES ? MGLU_ERROR_CORRUPT_FILE : MGLU_ERROR_NONFINITE,
                              plan->file->path, NULL, "layer '%.80s': %s", item->layer, mglu_last_error());
    if (status == MGLU_OK)
        status = mglu_io_output_write(output, words, (size_t)item->bytes);
    free(words);
    return status;
}

static mglu_status write_item(const struct mglu_io_gguf_plan *plan, const struct mglu_io_gguf_item *item,
                              struct mglu_io_output *output)
{
    static const unsigned char zeros[ALIGNMENT];
    mglu_status status;

    if (item->kind == MGLU_IO_GGUF_ITEM_MATRIX)
        status = write_matrix(plan, item, output);
    else if (item->kind == MGLU_IO_GGUF_ITEM_MASKS)
        status = write_masks(plan, item, output);
    else
        status = write_floats(plan, item, output);
    if (status != MGLU_OK)
        return status;
    return mglu_io_output_write(output, zeros, (size_t)(aligned(item->bytes) - item->bytes));
}

static mglu_status write_items(const struct mglu_io_gguf_plan *plan, struct mglu_io_output *output)
{
    const mglu_file_pack_options *options = plan->options;
    size_t done = 0, total = 0;
    mglu_status status = MGLU_OK;

    for (size_t i = 0; i < plan->count; i++)
        total += plan->items[i].bytes;
    for (size_t i = 0; i < plan->count && status == MGLU_OK; i++) {
        status = write_item(plan, &plan->items[i], output);
        done += plan->items[i].bytes;
        if (status == MGLU_OK && options->progress && options->progress(options->user, done, total) != 0)
            status = mglu_io_fail(MGLU_ERROR_CANCELLED, plan->file->path, NULL, "packing was cancelled");
    }
    return status;
}

mglu_status mglu_io_gguf_write(const mglu_file *file, const mglu_file_pack_options *options,
                               struct mglu_io_output *output)
{
    struct mglu_io_gguf_plan plan = {.file = file, .options = options};
    struct header header = {0};
    mglu_status status = mglu_io_gguf_plan_layers(&plan);

    if (status == MGLU_OK)
        status = make_header(&header, &plan);
    if (status == MGLU_OK)
        status = mglu_io_output_write(output, header.bytes, header.size);
    if (status == MGLU_OK)
        status = write_items(&plan, output);
    free(header.bytes);
    free(plan.items);
    return status;
}
