/* SPDX-License-Identifier: MIT */
#include "common/io/header.h"

#include "common/io/entry.h"
#include "common/io/report.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

/*
 * The header is one JSON object with an entry for each tensor. Its two outer levels are parsed here, and jansson parses
 * one name or entry at a time: a tree of a whole hostile header would need twenty times its memory.
 */

/* Levels of brackets within one entry; safetensors needs 2. Jansson recurses, and its own limit is 2048. */
enum { MAX_DEPTH = 8 };

/* Bytes of one name or entry: far above what a tensor of rank 8 can need. */
enum { MAX_ENTRY = 64 * 1024 };

/* Entries of __metadata__: far above any real file. */
enum { MAX_METADATA = 64 * 1024 };

/* The shortest possible members: arrays allocated once for as many as fit in the header never grow. */
enum {
    SHORTEST_TENSOR = sizeof "'':{'dtype':'U8','shape':[],'data_offsets':[0,0]}" - 1,
    SHORTEST_METADATA = sizeof "'':''," - 1
};

struct reader {
    mglu_file *file;
    const char *start, *at, *end;
    char *free_text; /* in file->texts */
    size_t tensor_room, metadata_room;
    struct mglu_io_data data;
    int has_metadata;
};

typedef mglu_status member_fn(struct reader *reader, const char *key);

#define CORRUPT(reader, ...) mglu_io_fail(MGLU_ERROR_CORRUPT_FILE, (reader)->file->path, NULL, __VA_ARGS__)

static void skip_space(struct reader *reader)
{
    while (reader->at < reader->end && *reader->at && strchr(" \t\r\n", *reader->at))
        reader->at++;
}

/* Skips `wanted` if it is next. */
static int skip_char(struct reader *reader, char wanted)
{
    skip_space(reader);
    if (reader->at == reader->end || *reader->at != wanted)
        return 0;
    reader->at++;
    return 1;
}

static mglu_status take_char(struct reader *reader, char wanted)
{
    if (skip_char(reader, wanted))
        return MGLU_OK;
    return CORRUPT(reader, "header byte %zu: expected '%c'", (size_t)(reader->at - reader->start), wanted);
}

/* Length of the string, object or array that begins at `text`; 0, with the fault, when it has no end. */
static size_t text_length(const char *text, const char *end, const char **fault)
{
    int depth = 0, quoted = 0;

    *fault = "has no end in the header";
    for (const char *c = text; c < end; c++) {
        if (quoted && *c == '\\')
            c++;
        else if (*c == '"')
            quoted = !quoted;
        else if (!quoted && (*c == '{' || *c == '['))
            depth++;
        else if (!quoted && (*c == '}' || *c == ']'))
            depth--;
        if (depth > MAX_DEPTH) {
            *fault = "is nested too deep";
            return 0;
        }
        if (depth <= 0 && !quoted)
            return (size_t)(c - text) + 1;
    }
    return 0;
}

/*
 * Reads a string of at most `most` bytes and stores it in file->texts, where it is shorter than in the header, without
 * quotes and escapes.
 */
static mglu_status take_string(struct reader *reader, size_t most, const char **string)
{
    const char *fault;
    json_error_t error;
    json_t *value;
    size_t length;

    skip_space(reader);
    if (reader->at == reader->end || *reader->at != '"')
        return CORRUPT(reader, "header byte %zu: expected a string", (size_t)(reader->at - reader->start));
    length = text_length(reader->at, reader->end, &fault);
    if (length > most)
        fault = "is too long";
    if (length == 0 || length > most)
        return CORRUPT(reader, "header byte %zu: string %s", (size_t)(reader->at - reader->start), fault);
    value = json_loadb(reader->at, length, JSON_DECODE_ANY, &error);
    if (!value && error.text[0] == '\0')
        return mglu_io_out_of_memory(reader->file->path);
    if (!value)
        return CORRUPT(reader, "header byte %zu: %s", (size_t)(reader->at - reader->start), error.text);
    *string = strcpy(reader->free_text, json_string_value(value));
    reader->free_text += json_string_length(value) + 1;
    reader->at += length;
    json_decref(value);
    return MGLU_OK;
}

static mglu_status walk_object(struct reader *reader, member_fn *member)
{
    mglu_status status = take_char(reader, '{');
    const char *key;

    if (status == MGLU_OK && skip_char(reader, '}'))
        return MGLU_OK;
    while (status == MGLU_OK) {
        status = take_string(reader, MAX_ENTRY, &key);
        if (status == MGLU_OK)
            status = take_char(reader, ':');
        if (status == MGLU_OK)
            status = member(reader, key);
        if (status != MGLU_OK || skip_char(reader, '}'))
            return status;
        status = take_char(reader, ',');
    }
    return status;
}

static mglu_status take_metadata(struct reader *reader, const char *key)
{
    mglu_file *file = reader->file;
    const char *value;
    mglu_status status;

    skip_space(reader);
    if (reader->at < reader->end && *reader->at != '"')
        return CORRUPT(reader, "metadata '%.80s' is not a string", key);
    if (file->metadata_count == reader->metadata_room)
        return CORRUPT(reader, "metadata has more than %zu texts", reader->metadata_room);
    status = take_string(reader, MGLU_IO_MAX_HEADER, &value);
    if (status != MGLU_OK)
        return status;
    file->metadata[file->metadata_count++] = (struct mglu_io_metadata){key, value};
    return MGLU_OK;
}

static mglu_status take_tensor(struct reader *reader, const char *name)
{
    mglu_file *file = reader->file;
    mglu_file_tensor *tensor;
    const char *fault = "is not an object";
    size_t length = 0;

    skip_space(reader);
    if (*name == '\0')
        return CORRUPT(reader, "a tensor has an empty name");
    if (reader->at < reader->end && *reader->at == '{')
        length = text_length(reader->at, reader->end, &fault);
    if (length > MAX_ENTRY)
        fault = "is too long";
    if (length == 0 || length > MAX_ENTRY)
        return mglu_io_fail(MGLU_ERROR_CORRUPT_FILE, file->path, name, "its entry %s", fault);
    if (file->tensor_count == reader->tensor_room)
        return mglu_io_fail(MGLU_ERROR_CORRUPT_FILE, file->path, name, "more tensors than the header has room for");
    tensor = &file->tensors[file->tensor_count++];
    *tensor = (mglu_file_tensor){.name = name};
    reader->at += length;
    return mglu_io_read_entry(file->path, reader->at - length, length, &reader->data, tensor);
}

static mglu_status take_member(struct reader *reader, const char *key)
{
    if (strcmp(key, "__metadata__") != 0)
        return take_tensor(reader, key);
    if (reader->has_metadata)
        return CORRUPT(reader, "__metadata__ appears twice");
    reader->has_metadata = 1;
    return walk_object(reader, take_metadata);
}

static int compare_places(const void *a, const void *b)
{
    const mglu_file_tensor *left = a, *right = b;

    if (left->data != right->data)
        return (const char *)left->data < (const char *)right->data ? -1 : 1;
    if (left->bytes != right->bytes)
        return left->bytes < right->bytes ? -1 : 1;
    return strcmp(left->name, right->name);
}

/* The tensors, in order, must follow each other from the first to the last byte of the data. */
static mglu_status check_cover(const mglu_file *file, const struct mglu_io_data *data)
{
    size_t end = 0;

    for (size_t i = 0; i < file->tensor_count; i++) {
        const mglu_file_tensor *tensor = &file->tensors[i];
        size_t begin = (size_t)((const unsigned char *)tensor->data - data->first);

        if (begin != end)
            return mglu_io_fail(MGLU_ERROR_CORRUPT_FILE, file->path, tensor->name,
                                "%s: begins at byte %zu of the data, the tensors before it end at %zu",
                                begin < end ? "overlap" : "hole", begin, end);
        end = begin + tensor->bytes;
    }
    if (end != data->size)
        return mglu_io_fail(MGLU_ERROR_CORRUPT_FILE, file->path, NULL, "%zu bytes of data after the last tensor",
                            data->size - end);
    return MGLU_OK;
}

static mglu_status index_names(mglu_file *file)
{
    const char *twice;

    qsort(file->tensors, file->tensor_count, sizeof *file->tensors, compare_places);
    if (!mglu_io_index_build(&file->by_name, file->tensors, file->tensor_count, sizeof *file->tensors) ||
        !mglu_io_index_build(&file->by_key, file->metadata, file->metadata_count, sizeof *file->metadata))
        return mglu_io_out_of_memory(file->path);
    twice = mglu_io_index_duplicate(&file->by_name);
    if (twice)
        return mglu_io_fail(MGLU_ERROR_CORRUPT_FILE, file->path, twice, "appears twice");
    twice = mglu_io_index_duplicate(&file->by_key);
    if (twice)
        return mglu_io_fail(MGLU_ERROR_CORRUPT_FILE, file->path, NULL, "metadata '%.80s' appears twice", twice);
    return MGLU_OK;
}

mglu_status mglu_io_header_length(const mglu_file *file, size_t *length)
{
    uint64_t bytes = 0;

    for (int i = MGLU_IO_LENGTH_BYTES - 1; i >= 0; i--)
        bytes = bytes << 8 | file->bytes[i];
    if (bytes > MGLU_IO_MAX_HEADER)
        return mglu_io_fail(MGLU_ERROR_CORRUPT_FILE, file->path, NULL, "header of %llu bytes, at most %zu are allowed",
                            (unsigned long long)bytes, MGLU_IO_MAX_HEADER);
    if (bytes > file->size - MGLU_IO_LENGTH_BYTES)
        return mglu_io_fail(MGLU_ERROR_CORRUPT_FILE, file->path, NULL,
                            "header of %llu bytes in a file of %zu: truncated, or not safetensors",
                            (unsigned long long)bytes, file->size);
    *length = (size_t)bytes;
    return MGLU_OK;
}

static int make_room(struct reader *reader, size_t length)
{
    mglu_file *file = reader->file;

    reader->tensor_room = length / SHORTEST_TENSOR + 1;
    reader->metadata_room = length / SHORTEST_METADATA + 1;
    if (reader->metadata_room > MAX_METADATA)
        reader->metadata_room = MAX_METADATA;
    file->texts = reader->free_text = malloc(length + 1);
    file->tensors = malloc(reader->tensor_room * sizeof *file->tensors);
    file->metadata = malloc(reader->metadata_room * sizeof *file->metadata);
    return file->texts && file->tensors && file->metadata;
}

mglu_status mglu_io_read_header(mglu_file *file, size_t length)
{
    const char *text = (const char *)file->bytes + MGLU_IO_LENGTH_BYTES;
    struct reader reader = {.file = file, .start = text, .at = text, .end = text + length};
    mglu_status status;

    reader.data.first = file->bytes + MGLU_IO_LENGTH_BYTES + length;
    reader.data.size = file->size - MGLU_IO_LENGTH_BYTES - length;
    if (!make_room(&reader, length))
        return mglu_io_out_of_memory(file->path);
    if (length == 0 || *text != '{')
        return CORRUPT(&reader, "the header does not begin with '{'");
    status = walk_object(&reader, take_member);
    if (status != MGLU_OK)
        return status;
    skip_space(&reader);
    if (reader.at != reader.end)
        return CORRUPT(&reader, "header byte %zu: text after the end", (size_t)(reader.at - reader.start));
    status = index_names(file);
    return status == MGLU_OK ? check_cover(file, &reader.data) : status;
}
