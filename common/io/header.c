/* SPDX-License-Identifier: MIT */
#include "common/io/header.h"

#include "common/io/entry.h"
#include "common/io/report.h"
#include "common/json/json.h"

#include <stdlib.h>
#include <string.h>

/*
 * The header is one JSON object with an entry for each tensor. It is read twice: first to count, then into memory of
 * exactly that size.
 */

/* Entries of __metadata__: far above any real file. */
enum { MAX_METADATA = 64 * 1024 };

/* Numbers in all shapes together: one in so many bytes of the header, and some. Real names alone are longer. */
enum { BYTES_PER_NUMBER = 16, NUMBERS_ANYWAY = 1024 };

/* What a header has. */
struct counts {
    size_t tensors, numbers, metadata, text;
};

struct reader {
    mglu_file *file;
    struct mglu_json json;
    char *free_text;    /* in file->texts */
    int64_t *free_dims; /* in file->dims */
    int has_metadata;
};

#define CORRUPT(reader, ...) mglu_io_fail(MGLU_ERROR_CORRUPT_FILE, (reader)->file->path, NULL, __VA_ARGS__)

/* Counts up to the end or the first fault, which is reported when the text is read again. */
static void count_contents(const char *text, size_t length, struct counts *counts)
{
    struct mglu_json json;
    int metadata = 0, shape = 0;

    mglu_json_begin(&json, text, length);
    while (mglu_json_next(&json) > MGLU_JSON_END) {
        int depth = mglu_json_depth(&json);

        if (json.token == MGLU_JSON_KEY && depth == 1) {
            metadata = mglu_json_equals(&json, "__metadata__");
            counts->tensors += !metadata;
        } else if (json.token == MGLU_JSON_KEY && depth == 2) {
            shape = !metadata && mglu_json_equals(&json, "shape");
            counts->metadata += metadata;
        }
        if (json.token == MGLU_JSON_KEY ? depth == 1 || metadata : json.token == MGLU_JSON_STRING && metadata)
            counts->text += json.length + 1;
        counts->numbers += json.token == MGLU_JSON_NUMBER && shape && depth == 3;
    }
}

static mglu_status syntax_fault(const struct reader *reader)
{
    return CORRUPT(reader, "header byte %zu: %s", mglu_json_offset(&reader->json), reader->json.fault);
}

/* Stores the key or string that was read last. */
static const char *take_text(struct reader *reader)
{
    char *text = reader->free_text;

    reader->free_text += mglu_json_decode(&reader->json, text) + 1;
    return text;
}

static mglu_status read_metadata(struct reader *reader)
{
    mglu_file *file = reader->file;

    if (reader->has_metadata)
        return CORRUPT(reader, "__metadata__ appears twice");
    reader->has_metadata = 1;
    if (reader->json.token == MGLU_JSON_NULL)
        return MGLU_OK;
    if (reader->json.token != MGLU_JSON_OBJECT)
        return CORRUPT(reader, "__metadata__ is not an object");
    while (mglu_json_next(&reader->json) == MGLU_JSON_KEY) {
        struct mglu_io_metadata *pair = &file->metadata[file->metadata_count++];

        pair->key = take_text(reader);
        if (mglu_json_next(&reader->json) == MGLU_JSON_FAULT)
            return syntax_fault(reader);
        if (reader->json.token != MGLU_JSON_STRING)
            return CORRUPT(reader, "metadata '%.80s' is not a string", pair->key);
        pair->value = take_text(reader);
    }
    return reader->json.token == MGLU_JSON_OBJECT_END ? MGLU_OK : syntax_fault(reader);
}

static mglu_status read_tensor(struct reader *reader, const char *name)
{
    mglu_file *file = reader->file;
    mglu_file_tensor *tensor = &file->tensors[file->tensor_count++];
    mglu_status status;

    *tensor = (mglu_file_tensor){.name = name};
    status = mglu_io_read_entry(file, &reader->json, reader->free_dims, tensor);
    reader->free_dims += tensor->rank;
    return status;
}

static mglu_status read_member(struct reader *reader)
{
    int metadata = mglu_json_equals(&reader->json, "__metadata__");
    const char *name = take_text(reader);

    if (mglu_json_next(&reader->json) == MGLU_JSON_FAULT)
        return metadata ? syntax_fault(reader)
                        : mglu_io_fail(MGLU_ERROR_CORRUPT_FILE, reader->file->path, name, "header byte %zu: %s",
                                       mglu_json_offset(&reader->json), reader->json.fault);
    return metadata ? read_metadata(reader) : read_tensor(reader, name);
}

static mglu_status read_members(struct reader *reader)
{
    mglu_status status = MGLU_OK;

    if (mglu_json_next(&reader->json) != MGLU_JSON_OBJECT)
        return CORRUPT(reader, "the header does not begin with '{': not a safetensors file");
    while (status == MGLU_OK && mglu_json_next(&reader->json) == MGLU_JSON_KEY)
        status = read_member(reader);
    if (status == MGLU_OK && (reader->json.token == MGLU_JSON_FAULT || mglu_json_next(&reader->json) != MGLU_JSON_END))
        return syntax_fault(reader);
    return status;
}

static int compare_places(const void *a, const void *b)
{
    const mglu_file_tensor *left = a, *right = b;

    if (left->data != right->data)
        return (uintptr_t)left->data < (uintptr_t)right->data ? -1 : 1;
    if (left->bytes != right->bytes)
        return left->bytes < right->bytes ? -1 : 1;
    return strcmp(left->name, right->name);
}

/* The tensors, in order, must follow each other from the first to the last byte of the data. */
static mglu_status check_cover(const mglu_file *file)
{
    size_t end = 0;

    for (size_t i = 0; i < file->tensor_count; i++) {
        const mglu_file_tensor *tensor = &file->tensors[i];
        size_t begin = (size_t)(uintptr_t)tensor->data;

        if (begin != end)
            return mglu_io_fail(MGLU_ERROR_CORRUPT_FILE, file->path, tensor->name,
                                "%s: begins at byte %zu of the data, the tensors before it end at %zu",
                                begin < end ? "overlap" : "hole", begin, end);
        end = begin + tensor->bytes;
    }
    if (end != file->data_size)
        return mglu_io_fail(MGLU_ERROR_CORRUPT_FILE, file->path, NULL, "%zu bytes of data after the last tensor",
                            file->data_size - end);
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

mglu_status mglu_io_header_length(const mglu_file *file, const unsigned char bytes[MGLU_IO_LENGTH_BYTES],
                                  size_t *length)
{
    uint64_t count = 0;

    for (int i = MGLU_IO_LENGTH_BYTES - 1; i >= 0; i--)
        count = count << 8 | bytes[i];
    if (count > MGLU_IO_MAX_HEADER)
        return mglu_io_fail(MGLU_ERROR_CORRUPT_FILE, file->path, NULL, "header of %llu bytes, at most %zu are allowed",
                            (unsigned long long)count, MGLU_IO_MAX_HEADER);
    if (count > file->size - MGLU_IO_LENGTH_BYTES)
        return mglu_io_fail(MGLU_ERROR_CORRUPT_FILE, file->path, NULL,
                            "header of %llu bytes in a file of %zu: truncated, or not safetensors",
                            (unsigned long long)count, file->size);
    *length = (size_t)count;
    return MGLU_OK;
}

static mglu_status check_counts(const struct reader *reader, const struct counts *counts, size_t length)
{
    size_t most = length / BYTES_PER_NUMBER + NUMBERS_ANYWAY;

    if (counts->metadata > MAX_METADATA)
        return CORRUPT(reader, "metadata has more than %d texts", MAX_METADATA);
    if (counts->numbers > most)
        return CORRUPT(reader, "the shapes have %zu numbers in all, at most %zu are read in a header of %zu bytes",
                       counts->numbers, most, length);
    return MGLU_OK;
}

/* Memory for at least one of each, so that NULL means failure. */
static int make_room(struct reader *reader, const struct counts *counts)
{
    mglu_file *file = reader->file;

    file->texts = reader->free_text = malloc(counts->text + 1);
    file->dims = reader->free_dims = malloc((counts->numbers + MGLU_FILE_MAX_RANK) * sizeof *file->dims);
    file->tensors = malloc((counts->tensors + 1) * sizeof *file->tensors);
    file->metadata = malloc((counts->metadata + 1) * sizeof *file->metadata);
    return file->texts && file->dims && file->tensors && file->metadata;
}

mglu_status mglu_io_read_header(mglu_file *file, const char *text, size_t length)
{
    struct reader reader = {.file = file};
    struct counts counts = {0};
    mglu_status status;

    count_contents(text, length, &counts);
    status = check_counts(&reader, &counts, length);
    if (status != MGLU_OK)
        return status;
    if (!make_room(&reader, &counts))
        return mglu_io_out_of_memory(file->path);
    mglu_json_begin(&reader.json, text, length);
    return read_members(&reader);
}

mglu_status mglu_io_index_header(mglu_file *file)
{
    mglu_status status = index_names(file);

    return status == MGLU_OK ? check_cover(file) : status;
}

void mglu_io_place_data(mglu_file *file, const void *data)
{
    for (size_t i = 0; i < file->tensor_count; i++)
        file->tensors[i].data = data ? (const char *)data + (uintptr_t)file->tensors[i].data : NULL;
}
