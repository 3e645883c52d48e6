/* SPDX-License-Identifier: MIT */
#include "common/io/front.h"

#include "common/io/header.h"
#include "common/io/report.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Where the text of the header goes; it is counted first, without an output. */
struct text {
    struct mglu_io_output *output; /* NULL: nowhere */
    mglu_status status;
    uint64_t length;
    size_t used; /* of the buffer */
    char buffer[4096];
};

static void flush(struct text *text)
{
    if (text->output && text->status == MGLU_OK)
        text->status = mglu_io_output_write(text->output, text->buffer, text->used);
    text->used = 0;
}

static void put(struct text *text, const char *bytes, size_t count)
{
    if (count > sizeof text->buffer - text->used)
        flush(text);
    memcpy(text->buffer + text->used, bytes, count);
    text->used += count;
    text->length += count;
}

/* A short text. */
__attribute__((format(printf, 2, 3))) static void put_format(struct text *text, const char *format, ...)
{
    char bytes[120];
    va_list arguments;

    va_start(arguments, format);
    put(text, bytes, (size_t)vsnprintf(bytes, sizeof bytes, format, arguments));
    va_end(arguments);
}

/* The inside of a JSON string. */
static void put_escaped(struct text *text, const char *string)
{
    for (; *string; string++) {
        if ((unsigned char)*string < 0x20)
            put_format(text, "\\u%04x", (unsigned)*string);
        else if (*string == '"' || *string == '\\')
            put_format(text, "\\%c", *string);
        else
            put(text, string, 1);
    }
}

static void put_metadata(struct text *text, const struct mglu_io_front *front)
{
    for (size_t i = 0; i < front->metadata_count; i++) {
        put_format(text, i ? ",\"" : "\"__metadata__\":{\"");
        put_escaped(text, front->metadata[i].key);
        put_format(text, "\":\"");
        put_escaped(text, front->metadata[i].value);
        put_format(text, "\"");
    }
    if (front->metadata_count)
        put_format(text, "}");
}

static void put_entry(struct text *text, const struct mglu_io_entry *entry, uint64_t offset)
{
    put_format(text, "\"");
    put_escaped(text, entry->name);
    put_escaped(text, entry->tail ? entry->tail : "");
    put_format(text, "\":{\"dtype\":\"%s\",\"shape\":[", mglu_file_dtype_name(entry->dtype));
    for (int32_t i = 0; i < entry->rank; i++)
        put_format(text, i ? ",%lld" : "%lld", (long long)entry->shape[i]);
    put_format(text, "],\"data_offsets\":[%llu,%llu]}", (unsigned long long)offset,
               (unsigned long long)(offset + entry->bytes));
}

static void put_header(struct text *text, const struct mglu_io_front *front)
{
    uint64_t offset = 0;

    put_format(text, "{");
    put_metadata(text, front);
    for (size_t i = 0; i < front->count && text->status == MGLU_OK; i++) {
        struct mglu_io_entry entry = {0};

        front->describe(front->source, i, &entry);
        if (i || front->metadata_count)
            put_format(text, ",");
        put_entry(text, &entry, offset);
        offset += entry.bytes;
    }
    put_format(text, "}");
}

mglu_status mglu_io_front_write(const struct mglu_io_front *front, struct mglu_io_output *output)
{
    struct text counted = {.status = MGLU_OK}, text = {.output = output, .status = MGLU_OK};
    uint64_t end;

    put_header(&counted, front);
    end = (MGLU_IO_LENGTH_BYTES + counted.length + MGLU_IO_DATA_ALIGNMENT - 1) / MGLU_IO_DATA_ALIGNMENT *
          MGLU_IO_DATA_ALIGNMENT;
    if (end - MGLU_IO_LENGTH_BYTES > MGLU_IO_MAX_HEADER)
        return mglu_io_fail(MGLU_ERROR_INVALID_ARGUMENT, output->path, NULL, "a header of %llu bytes is too long",
                            (unsigned long long)counted.length);
    for (int i = 0; i < MGLU_IO_LENGTH_BYTES; i++)
        put_format(&text, "%c", (int)((end - MGLU_IO_LENGTH_BYTES) >> (8 * i) & 0xff));
    put_header(&text, front);
    while (text.length < end)
        put_format(&text, " ");
    flush(&text);
    return text.status;
}

static size_t alignment_of(size_t bytes)
{
    return bytes % MGLU_IO_DATA_ALIGNMENT == 0 ? MGLU_IO_DATA_ALIGNMENT : bytes & -bytes;
}

void mglu_io_order(const size_t *bytes, size_t count, size_t *order)
{
    size_t used = 0;

    for (size_t alignment = MGLU_IO_DATA_ALIGNMENT; alignment > 0; alignment /= 2)
        for (size_t i = 0; i < count; i++)
            if (alignment_of(bytes[i]) == alignment)
                order[used++] = i;
}
