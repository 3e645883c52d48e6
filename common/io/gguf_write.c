/* SPDX-License-Identifier: MIT */
#include "common/io/gguf_write.h"

#include "common/io/gguf_data.h"
#include "common/io/gguf_values.h"
#include "common/io/output.h"
#include "common/io/report.h"

#include <mglu/pack.h>
#include <mglu/version.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { GGUF_VERSION = 3 };

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
    put_u32(header, MGLU_IO_GGUF_ALIGNMENT);
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

/* Offsets count from the first byte of the data. */
static void put_infos(struct header *header, const struct mglu_io_gguf_plan *plan)
{
    uint64_t offset = 0;

    for (size_t i = 0; i < plan->count; i++) {
        struct mglu_io_gguf_item *item = &plan->items[i];

        put_string(header, item->name);
        put_u32(header, item->rank);
        for (uint32_t k = 0; k < item->rank; k++)
            put_u64(header, item->size[k]);
        put_u32(header, item->type);
        put_u64(header, offset);
        item->offset = offset;
        offset += mglu_io_gguf_aligned(item->bytes);
    }
}

/* Everything before the data. */
static mglu_status make_header(struct header *header, const struct mglu_io_gguf_plan *plan)
{
    static const unsigned char zeros[MGLU_IO_GGUF_ALIGNMENT];
    size_t at_texts;

    put(header, "GGUF", 4);
    put_u32(header, GGUF_VERSION);
    put_u64(header, plan->count);
    at_texts = header->size;
    put_u64(header, 0);
    put_metadata(header, plan);
    put_infos(header, plan);
    put(header, zeros, (size_t)(mglu_io_gguf_aligned(header->size) - header->size));
    if (header->failed)
        return mglu_io_out_of_memory(plan->file->path);
    memcpy(header->bytes + at_texts, &header->texts, sizeof header->texts);
    return MGLU_OK;
}

mglu_status mglu_io_gguf_write(const mglu_file *file, const mglu_file_pack_options *options,
                               struct mglu_io_output *output)
{
    struct mglu_io_gguf_plan plan = {.file = file, .options = options, .output = output};
    struct header header = {0};
    mglu_status status = mglu_io_gguf_plan_layers(&plan);

    if (status == MGLU_OK)
        status = make_header(&header, &plan);
    if (status == MGLU_OK)
        status = mglu_io_output_write(output, header.bytes, header.size);
    if (status == MGLU_OK)
        status = mglu_io_gguf_write_data(&plan);
    free(header.bytes);
    free(plan.items);
    return status;
}
