/* SPDX-License-Identifier: MIT */
#include "common/io/dtype.h"
#include "common/io/header.h"
#include "common/io/output.h"
#include "common/io/report.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

/* Tensors start at multiples of this, if their sizes allow. */
enum { DATA_ALIGNMENT = 64 };

/* Offsets stay in the range that readers accept. */
#define MAX_DATA ((uint64_t)1 << 53)

struct item {
    const char *name; /* the key of its entry, below */
    json_t *entry;    /* owned by mglu_file_writer.entries */
    const void *data;
    size_t bytes;
};

struct mglu_file_writer {
    json_t *metadata; /* key to value */
    json_t *entries;  /* name to {dtype, shape}; finds duplicates */
    struct item *items;
    size_t count, capacity;
    uint64_t total; /* bytes of all tensors */
};

#define INVALID(...) mglu_fail(MGLU_ERROR_INVALID_ARGUMENT, __VA_ARGS__)

static mglu_status out_of_memory(void)
{
    return mglu_fail(MGLU_ERROR_OUT_OF_MEMORY, "out of memory");
}

mglu_status mglu_file_writer_create(mglu_file_writer **writer)
{
    mglu_file_writer *made;

    if (!writer)
        return INVALID("mglu_file_writer_create: writer is NULL");
    *writer = NULL;
    made = calloc(1, sizeof *made);
    if (!made)
        return out_of_memory();
    made->metadata = json_object();
    made->entries = json_object();
    if (!made->metadata || !made->entries) {
        mglu_file_writer_destroy(&made);
        return out_of_memory();
    }
    *writer = made;
    return MGLU_OK;
}

void mglu_file_writer_destroy(mglu_file_writer **writer)
{
    if (!writer || !*writer)
        return;
    json_decref((*writer)->metadata);
    json_decref((*writer)->entries);
    free((*writer)->items);
    free(*writer);
    *writer = NULL;
}

static mglu_status make_text(const char *what, const char *text, json_t **value)
{
    json_error_t error = {0}; /* jansson does not set the code when out of memory */

    *value = json_pack_ex(&error, 0, "s", text);
    if (*value)
        return MGLU_OK;
    return json_error_code(&error) == json_error_invalid_utf8 ? INVALID("%s is not UTF-8", what) : out_of_memory();
}

static mglu_status check_text(const char *what, const char *text)
{
    json_t *value;
    mglu_status status = make_text(what, text, &value);

    json_decref(value);
    return status;
}

mglu_status mglu_file_writer_metadata(mglu_file_writer *writer, const char *key, const char *value)
{
    json_t *text;
    mglu_status status;

    if (!writer || !key || !value)
        return INVALID("mglu_file_writer_metadata: writer, key or value is NULL");
    status = check_text("metadata key", key);
    if (status == MGLU_OK)
        status = make_text("metadata value", value, &text);
    if (status == MGLU_OK && json_object_set_new(writer->metadata, key, text) != 0)
        status = out_of_memory();
    return status;
}

static mglu_status check_tensor(const mglu_file_writer *writer, const mglu_file_tensor *tensor, size_t *bytes)
{
    const char *name = tensor->name;

    if (!name || *name == '\0' || strcmp(name, "__metadata__") == 0)
        return INVALID("a tensor needs a name other than '' and '__metadata__'");
    if (json_object_get(writer->entries, name))
        return INVALID("tensor '%.200s' was added already", name);
    if (!mglu_file_dtype_name(tensor->dtype))
        return INVALID("tensor '%.200s': unknown dtype %d", name, (int)tensor->dtype);
    if (tensor->rank < 0 || tensor->rank > MGLU_FILE_MAX_RANK)
        return INVALID("tensor '%.200s': rank %d, must be 0..%d", name, tensor->rank, MGLU_FILE_MAX_RANK);
    if (!mglu_io_tensor_bytes(tensor->dtype, tensor->rank, tensor->shape, bytes))
        return INVALID("tensor '%.200s': its shape is negative or too large", name);
    if (tensor->bytes && tensor->bytes != *bytes)
        return INVALID("tensor '%.200s': %zu bytes, its shape needs %zu", name, tensor->bytes, *bytes);
    if (*bytes > MAX_DATA - writer->total)
        return INVALID("tensor '%.200s': the file would have more than 2^53 bytes", name);
    if (*bytes && !tensor->data)
        return INVALID("tensor '%.200s': data is NULL", name);
    return check_text("tensor name", name);
}

static json_t *make_entry(const mglu_file_tensor *tensor)
{
    json_t *shape = json_array();
    int failed = shape == NULL;

    for (int32_t i = 0; i < tensor->rank; i++)
        failed |= json_array_append_new(shape, json_integer(tensor->shape[i]));
    if (failed) {
        json_decref(shape);
        return NULL;
    }
    return json_pack("{s:s, s:o}", "dtype", mglu_file_dtype_name(tensor->dtype), "shape", shape);
}

static int reserve(mglu_file_writer *writer)
{
    size_t capacity = writer->capacity + writer->capacity / 2 + 16;
    struct item *grown;

    if (writer->count < writer->capacity)
        return 1;
    grown = realloc(writer->items, capacity * sizeof *grown);
    if (!grown)
        return 0;
    writer->items = grown;
    writer->capacity = capacity;
    return 1;
}

mglu_status mglu_file_writer_tensor(mglu_file_writer *writer, const mglu_file_tensor *tensor)
{
    size_t bytes;
    json_t *entry;
    mglu_status status;

    if (!writer || !tensor)
        return INVALID("mglu_file_writer_tensor: writer or tensor is NULL");
    status = check_tensor(writer, tensor, &bytes);
    if (status != MGLU_OK)
        return status;
    if (!reserve(writer))
        return out_of_memory();
    entry = make_entry(tensor);
    if (!entry || json_object_set_new(writer->entries, tensor->name, entry) != 0)
        return out_of_memory();
    writer->items[writer->count++] = (struct item){
        .name = json_object_iter_key(json_object_iter_at(writer->entries, tensor->name)),
        .entry = entry,
        .data = tensor->data,
        .bytes = bytes,
    };
    writer->total += bytes;
    return MGLU_OK;
}

/* The largest power of two, up to DATA_ALIGNMENT, that divides a size. */
static size_t alignment_of(size_t bytes)
{
    return bytes % DATA_ALIGNMENT == 0 ? DATA_ALIGNMENT : bytes & -bytes;
}

/*
 * Puts the tensors in descending order of alignment_of() their sizes, otherwise in the order of addition. The format
 * allows no gaps between tensors; in this order each still begins at a multiple of its alignment.
 */
static struct item *order_items(const mglu_file_writer *writer)
{
    struct item *ordered = malloc((writer->count + 1) * sizeof *ordered);
    size_t used = 0;

    for (size_t alignment = DATA_ALIGNMENT; ordered && alignment > 0; alignment /= 2)
        for (size_t i = 0; i < writer->count; i++)
            if (alignment_of(writer->items[i].bytes) == alignment)
                ordered[used++] = writer->items[i];
    return ordered;
}

/* Returns NULL when out of memory. */
static json_t *make_header(const mglu_file_writer *writer, const struct item *ordered)
{
    json_t *header = json_object();
    json_int_t offset = 0;
    int failed = header == NULL;

    if (json_object_size(writer->metadata) > 0)
        failed |= json_object_set(header, "__metadata__", writer->metadata);
    for (size_t i = 0; i < writer->count && !failed; i++) {
        json_int_t end = offset + (json_int_t)ordered[i].bytes;
        failed |= json_object_set_new(ordered[i].entry, "data_offsets", json_pack("[I, I]", offset, end));
        failed |= json_object_set(header, ordered[i].name, ordered[i].entry);
        offset = end;
    }
    if (failed) {
        json_decref(header);
        return NULL;
    }
    return header;
}

/* The header's length and text, padded with spaces so that the data begins at a multiple of DATA_ALIGNMENT. */
static mglu_status make_front(const mglu_file_writer *writer, const struct item *ordered, const char *path,
                              char **front, size_t *size)
{
    json_t *header = make_header(writer, ordered);
    size_t length = header ? json_dumpb(header, NULL, 0, JSON_COMPACT) : 0;
    mglu_status status = MGLU_OK;

    *size = (MGLU_IO_LENGTH_BYTES + length + DATA_ALIGNMENT - 1) / DATA_ALIGNMENT * DATA_ALIGNMENT;
    *front = length ? malloc(*size) : NULL;
    if (!*front || json_dumpb(header, *front + MGLU_IO_LENGTH_BYTES, length, JSON_COMPACT) != length)
        status = mglu_io_out_of_memory(path);
    else if (*size - MGLU_IO_LENGTH_BYTES > MGLU_IO_MAX_HEADER)
        status = mglu_io_fail(MGLU_ERROR_INVALID_ARGUMENT, path, NULL, "a header of %zu bytes is too long", length);
    json_decref(header);
    if (status != MGLU_OK) {
        free(*front);
        *front = NULL;
        return status;
    }
    memset(*front + MGLU_IO_LENGTH_BYTES + length, ' ', *size - MGLU_IO_LENGTH_BYTES - length);
    for (int i = 0; i < MGLU_IO_LENGTH_BYTES; i++)
        (*front)[i] = (char)((*size - MGLU_IO_LENGTH_BYTES) >> (8 * i) & 0xff);
    return MGLU_OK;
}

static mglu_status write_out(const mglu_file_writer *writer, const struct item *ordered, const char *front,
                             size_t front_size, const char *path)
{
    struct mglu_io_output output;
    mglu_status status = mglu_io_output_begin(&output, path);

    if (status == MGLU_OK)
        status = mglu_io_output_write(&output, front, front_size);
    for (size_t i = 0; i < writer->count && status == MGLU_OK; i++)
        status = mglu_io_output_write(&output, ordered[i].data, ordered[i].bytes);
    if (status == MGLU_OK)
        return mglu_io_output_commit(&output);
    mglu_io_output_discard(&output);
    return status;
}

mglu_status mglu_file_writer_commit(mglu_file_writer *writer, const char *path)
{
    struct item *ordered;
    char *front = NULL;
    size_t front_size = 0;
    mglu_status status;

    if (!writer || !path)
        return INVALID("mglu_file_writer_commit: writer or path is NULL");
    ordered = order_items(writer);
    status = ordered ? make_front(writer, ordered, path, &front, &front_size) : mglu_io_out_of_memory(path);
    if (status == MGLU_OK)
        status = write_out(writer, ordered, front, front_size, path);
    free(front);
    free(ordered);
    return status;
}
