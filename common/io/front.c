/* SPDX-License-Identifier: MIT */
#include "common/io/front.h"

#include "common/io/header.h"
#include "common/io/report.h"
#include "common/io/text_output.h"

static void put_metadata(struct mglu_io_text *text, const struct mglu_io_front *front)
{
    for (size_t i = 0; i < front->metadata_count; i++) {
        mglu_io_text_put(text, i ? ",\"" : "\"__metadata__\":{\"");
        mglu_io_text_put_escaped(text, front->metadata[i].key);
        mglu_io_text_put(text, "\":\"");
        mglu_io_text_put_escaped(text, front->metadata[i].value);
        mglu_io_text_put(text, "\"");
    }
    if (front->metadata_count)
        mglu_io_text_put(text, "}");
}

static void put_entry(struct mglu_io_text *text, const struct mglu_io_entry *entry, uint64_t offset)
{
    mglu_io_text_put(text, "\"");
    mglu_io_text_put_escaped(text, entry->name);
    mglu_io_text_put_escaped(text, entry->tail ? entry->tail : "");
    mglu_io_text_put(text, "\":{\"dtype\":\"%s\",\"shape\":[", mglu_file_dtype_name(entry->dtype));
    for (int32_t i = 0; i < entry->rank; i++)
        mglu_io_text_put(text, i ? ",%lld" : "%lld", (long long)entry->shape[i]);
    mglu_io_text_put(text, "],\"data_offsets\":[%llu,%llu]}", (unsigned long long)offset,
                     (unsigned long long)(offset + entry->bytes));
}

static void put_header(struct mglu_io_text *text, const struct mglu_io_front *front)
{
    uint64_t offset = 0;

    mglu_io_text_put(text, "{");
    put_metadata(text, front);
    for (size_t i = 0; i < front->count && text->status == MGLU_OK; i++) {
        struct mglu_io_entry entry = {0};

        front->describe(front->source, i, &entry);
        if (i || front->metadata_count)
            mglu_io_text_put(text, ",");
        put_entry(text, &entry, offset);
        offset += entry.bytes;
    }
    mglu_io_text_put(text, "}");
}

mglu_status mglu_io_front_write(const struct mglu_io_front *front, struct mglu_io_output *output)
{
    struct mglu_io_text counted = {.status = MGLU_OK}, text = {.output = output, .status = MGLU_OK};
    uint64_t end;

    put_header(&counted, front);
    end = (MGLU_IO_LENGTH_BYTES + counted.length + MGLU_IO_DATA_ALIGNMENT - 1) / MGLU_IO_DATA_ALIGNMENT *
          MGLU_IO_DATA_ALIGNMENT;
    if (end - MGLU_IO_LENGTH_BYTES > MGLU_IO_MAX_HEADER)
        return mglu_io_fail(MGLU_ERROR_INVALID_ARGUMENT, output->path, NULL, "a header of %llu bytes is too long",
                            (unsigned long long)counted.length);
    for (int i = 0; i < MGLU_IO_LENGTH_BYTES; i++)
        mglu_io_text_put(&text, "%c", (int)((end - MGLU_IO_LENGTH_BYTES) >> (8 * i) & 0xff));
    put_header(&text, front);
    while (text.length < end)
        mglu_io_text_put(&text, " ");
    mglu_io_text_flush(&text);
    return text.status;
}

static size_t alignment_of(size_t bytes)
{
    return bytes % MGLU_IO_DATA_ALIGNMENT == 0 ? MGLU_IO_DATA_ALIGNMENT : bytes & -bytes;
}

void mglu_io_order(const size_t *bytes, size_t count, uint32_t *order)
{
    size_t used = 0;

    for (size_t alignment = MGLU_IO_DATA_ALIGNMENT; alignment > 0; alignment /= 2)
        for (size_t i = 0; i < count; i++)
            if (alignment_of(bytes[i]) == alignment)
                order[used++] = (uint32_t)i;
}
