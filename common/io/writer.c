/* SPDX-License-Identifier: MIT */
#include "common/io/dtype.h"
#include "common/io/front.h"
#include "common/io/report.h"
#include "common/json/json.h"

#include <search.h>
#include <stdlib.h>
#include <string.h>

/* Offsets stay in the range that readers accept. */
#define MAX_DATA ((uint64_t)1 << 53)

/* A tensor to write, with copies of its shape and name behind it. */
struct item {
    mglu_file_tensor tensor;
    int64_t shape_and_name[];
};

struct mglu_file_writer {
    struct mglu_io_metadata *metadata; /* in the order in which they were added */
    size_t metadata_count;
    struct item **items;
    size_t count, capacity;
    void *names;    /* a tree of tsearch(), which finds duplicates */
    uint64_t total; /* bytes of all tensors */
};

/* What mglu_io_front describes: the items in the order of the file. */
struct ordered {
    const mglu_file_writer *writer;
    const uint32_t *order;
};

#define INVALID(...) mglu_fail(MGLU_ERROR_INVALID_ARGUMENT, __VA_ARGS__)

static mglu_status out_of_memory(void)
{
    return mglu_fail(MGLU_ERROR_OUT_OF_MEMORY, "out of memory");
}

mglu_status mglu_file_writer_create(mglu_file_writer **writer)
{
    if (!writer)
        return INVALID("mglu_file_writer_create: writer is NULL");
    *writer = calloc(1, sizeof **writer);
    return *writer ? MGLU_OK : out_of_memory();
}

/* The names belong to the items. */
static void keep(void *name)
{
}

void mglu_file_writer_destroy(mglu_file_writer **writer)
{
    if (!writer || !*writer)
        return;
    tdestroy((*writer)->names, keep);
    for (size_t i = 0; i < (*writer)->count; i++)
        free((*writer)->items[i]);
    for (size_t i = 0; i < (*writer)->metadata_count; i++) {
        free((char *)(*writer)->metadata[i].key);
        free((char *)(*writer)->metadata[i].value);
    }
    free((*writer)->metadata);
    free((*writer)->items);
    free(*writer);
    *writer = NULL;
}

static mglu_status check_text(const char *what, const char *text)
{
    return mglu_utf8_is_valid(text, strlen(text)) ? MGLU_OK : INVALID("%s is not UTF-8", what);
}

static struct mglu_io_metadata *find_pair(const mglu_file_writer *writer, const char *key)
{
    for (size_t i = 0; i < writer->metadata_count; i++)
        if (strcmp(writer->metadata[i].key, key) == 0)
            return &writer->metadata[i];
    return NULL;
}

/* Appends a pair, which takes over the value when that succeeds. */
static int add_pair(mglu_file_writer *writer, const char *key, char *value)
{
    struct mglu_io_metadata *grown = realloc(writer->metadata, (writer->metadata_count + 1) * sizeof *grown);
    char *copy = strdup(key);

    if (grown)
        writer->metadata = grown;
    if (!grown || !copy) {
        free(copy);
        return 0;
    }
    grown[writer->metadata_count++] = (struct mglu_io_metadata){copy, value};
    return 1;
}

mglu_status mglu_file_writer_metadata(mglu_file_writer *writer, const char *key, const char *value)
{
    struct mglu_io_metadata *found;
    char *copy;
    mglu_status status;

    if (!writer || !key || !value)
        return INVALID("mglu_file_writer_metadata: writer, key or value is NULL");
    status = check_text("metadata key", key);
    if (status == MGLU_OK)
        status = check_text("metadata value", value);
    if (status != MGLU_OK)
        return status;
    copy = strdup(value);
    found = find_pair(writer, key);
    if (copy && found) {
        free((char *)found->value);
        found->value = copy;
    } else if (!copy || !add_pair(writer, key, copy)) {
        free(copy);
        return out_of_memory();
    }
    return MGLU_OK;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(a, b);
}

static mglu_status check_tensor(const mglu_file_writer *writer, const mglu_file_tensor *tensor, size_t *bytes)
{
    const char *name = tensor->name;

    if (!name || *name == '\0' || strcmp(name, "__metadata__") == 0)
        return INVALID("a tensor needs a name other than '' and '__metadata__'");
    if (tfind(name, (void *const *)&writer->names, compare_names))
        return INVALID("tensor '%.200s' was added already", name);
    if (!mglu_file_dtype_name(tensor->dtype))
        return INVALID("tensor '%.200s': unknown dtype %d", name, (int)tensor->dtype);
    if (tensor->rank < 0 || tensor->rank > MGLU_FILE_MAX_RANK)
        return INVALID("tensor '%.200s': rank %d, must be 0..%d", name, tensor->rank, MGLU_FILE_MAX_RANK);
    if (tensor->rank > 0 && !tensor->shape)
        return INVALID("tensor '%.200s': shape is NULL", name);
    if (!mglu_io_tensor_bytes(tensor->dtype, tensor->rank, tensor->shape, bytes))
        return INVALID("tensor '%.200s': its shape is negative, too large, or no whole number of bytes", name);
    if (tensor->bytes && tensor->bytes != *bytes)
        return INVALID("tensor '%.200s': %zu bytes, its shape needs %zu", name, tensor->bytes, *bytes);
    if (*bytes > MAX_DATA - writer->total)
        return INVALID("tensor '%.200s': the file would have more than 2^53 bytes", name);
    if (*bytes && !tensor->data)
        return INVALID("tensor '%.200s': data is NULL", name);
    return check_text("tensor name", name);
}

static int reserve(mglu_file_writer *writer)
{
    size_t capacity = writer->capacity + writer->capacity / 2 + 16;
    struct item **grown;

    if (writer->count < writer->capacity)
        return 1;
    grown = realloc(writer->items, capacity * sizeof(struct item *));
    if (!grown)
        return 0;
    writer->items = grown;
    writer->capacity = capacity;
    return 1;
}

static struct item *make_item(const mglu_file_tensor *tensor, size_t bytes)
{
    size_t shape_bytes = (size_t)tensor->rank * sizeof *tensor->shape, name_bytes = strlen(tensor->name) + 1;
    struct item *item = malloc(sizeof *item + shape_bytes + name_bytes);
    char *name;

    if (!item)
        return NULL;
    name = (char *)item->shape_and_name + shape_bytes;
    if (shape_bytes)
        memcpy(item->shape_and_name, tensor->shape, shape_bytes);
    memcpy(name, tensor->name, name_bytes);
    item->tensor = *tensor;
    item->tensor.name = name;
    item->tensor.shape = item->shape_and_name;
    item->tensor.bytes = bytes;
    return item;
}

mglu_status mglu_file_writer_tensor(mglu_file_writer *writer, const mglu_file_tensor *tensor)
{
    size_t bytes;
    struct item *item;
    mglu_status status;

    if (!writer || !tensor)
        return INVALID("mglu_file_writer_tensor: writer or tensor is NULL");
    status = check_tensor(writer, tensor, &bytes);
    if (status != MGLU_OK)
        return status;
    item = reserve(writer) ? make_item(tensor, bytes) : NULL;
    if (!item || !tsearch(item->tensor.name, &writer->names, compare_names)) {
        free(item);
        return out_of_memory();
    }
    writer->items[writer->count++] = item;
    writer->total += bytes;
    return MGLU_OK;
}

static void describe(const void *source, size_t index, struct mglu_io_entry *entry)
{
    const struct ordered *ordered = source;
    const mglu_file_tensor *tensor = &ordered->writer->items[ordered->order[index]]->tensor;

    entry->name = tensor->name;
    entry->dtype = tensor->dtype;
    entry->rank = tensor->rank;
    entry->shape = tensor->shape;
    entry->bytes = tensor->bytes;
}

static mglu_status write_all(const mglu_file_writer *writer, const uint32_t *order, struct mglu_io_output *output)
{
    const struct ordered ordered = {writer, order};
    const struct mglu_io_front front = {
        .metadata = writer->metadata,
        .metadata_count = writer->metadata_count,
        .count = writer->count,
        .describe = describe,
        .source = &ordered,
    };
    mglu_status status = mglu_io_front_write(&front, output);

    for (size_t i = 0; i < writer->count && status == MGLU_OK; i++) {
        const mglu_file_tensor *tensor = &writer->items[order[i]]->tensor;

        status = mglu_io_output_write(output, tensor->data, tensor->bytes);
    }
    return status;
}

/* The indices of the items in the order of the file, to be freed; NULL when out of memory. */
static uint32_t *order_items(const mglu_file_writer *writer)
{
    size_t *bytes = malloc((writer->count + 1) * sizeof *bytes);
    uint32_t *order = malloc((writer->count + 1) * sizeof *order);

    for (size_t i = 0; i < writer->count && bytes; i++)
        bytes[i] = writer->items[i]->tensor.bytes;
    if (order && bytes)
        mglu_io_order(bytes, writer->count, order);
    free(bytes);
    if (bytes)
        return order;
    free(order);
    return NULL;
}

mglu_status mglu_file_writer_commit(mglu_file_writer *writer, const char *path)
{
    struct mglu_io_output output;
    uint32_t *order;
    mglu_status status;

    if (!writer || !path)
        return INVALID("mglu_file_writer_commit: writer or path is NULL");
    order = order_items(writer);
    if (!order)
        return mglu_io_out_of_memory(path);
    status = mglu_io_output_begin(&output, path);
    if (status == MGLU_OK) {
        status = write_all(writer, order, &output);
        if (status == MGLU_OK)
            status = mglu_io_output_commit(&output);
        else
            mglu_io_output_discard(&output);
    }
    free(order);
    return status;
}
