/* SPDX-License-Identifier: MIT */
#include "common/io/gguf_header.h"

#include "common/io/gguf_stream.h"
#include "common/io/gguf_types.h"
#include "common/io/gguf_values.h"
#include "common/io/report.h"

#include <stdlib.h>
#include <string.h>

/* Bytes before the metadata: magic, version, two counts. */
enum { MAGIC_BYTES = 4, OLDEST_VERSION = 2, NEWEST_VERSION = 3 };

/* Far above any real file, so that counts need little memory. The longest name that ggml reads has 63 bytes. */
enum { MAX_TENSORS = 65536, MAX_TEXTS = 65536, MAX_NAME = 255, MAX_KEY = 65535, MAX_VALUE = 65536 };

/* The shortest possible entries. */
enum { SHORTEST_TENSOR = 8 + 1 + 4 + 4 + 8, SHORTEST_TEXT = 8 + 1 + 4 + 1 };

static const uint32_t default_alignment = 32, max_alignment = 1u << 20;

struct reader {
    struct mglu_io_stream stream;
    struct mglu_io_gguf *gguf;
    uint32_t alignment;
    int has_alignment;
};

#define CORRUPT(reader, tensor, ...) mglu_io_fail(MGLU_ERROR_CORRUPT_FILE, (reader)->stream.path, tensor, __VA_ARGS__)
#define UNSUPPORTED(reader, ...)     mglu_io_fail(MGLU_ERROR_UNSUPPORTED, (reader)->stream.path, NULL, __VA_ARGS__)

static mglu_status read_version(struct reader *reader)
{
    uint32_t version = 0;
    mglu_status status = mglu_io_stream_skip(&reader->stream, MAGIC_BYTES);

    if (status == MGLU_OK)
        status = mglu_io_stream_u32(&reader->stream, &version);
    if (status != MGLU_OK || (version >= OLDEST_VERSION && version <= NEWEST_VERSION))
        return status;
    if ((version & 0xffff) == 0 && version != 0)
        return UNSUPPORTED(reader, "GGUF in big-endian byte order: convert it to little-endian, as with "
                                   "gguf-convert-endian of the gguf package");
    return UNSUPPORTED(reader, "GGUF version %u; versions %d and %d are read", version, OLDEST_VERSION, NEWEST_VERSION);
}

/* A number of entries that need at least `shortest` bytes each. */
static mglu_status read_count(struct reader *reader, const char *what, uint64_t shortest, uint64_t most,
                              uint64_t *count)
{
    mglu_status status = mglu_io_stream_u64(&reader->stream, count);
    uint64_t left = mglu_io_stream_left(&reader->stream);

    if (status != MGLU_OK)
        return status;
    if (*count > left / shortest)
        return mglu_io_stream_fail(&reader->stream, "%llu %s, but only %llu bytes follow", (unsigned long long)*count,
                                   what, (unsigned long long)left);
    if (*count > most)
        return mglu_io_stream_fail(&reader->stream, "%llu %s, at most %llu are read", (unsigned long long)*count, what,
                                   (unsigned long long)most);
    return MGLU_OK;
}

static mglu_status read_alignment(struct reader *reader, uint32_t type)
{
    uint32_t alignment = 0;
    mglu_status status;

    if (type != MGLU_IO_GGUF_UINT32 || reader->has_alignment)
        return mglu_io_stream_fail(&reader->stream, "general.alignment: expected one value of type uint32");
    status = mglu_io_stream_u32(&reader->stream, &alignment);
    if (status == MGLU_OK && (alignment == 0 || (alignment & (alignment - 1)) != 0 || alignment > max_alignment))
        return mglu_io_stream_fail(&reader->stream, "general.alignment: %u, expected a power of two up to %u",
                                   alignment, max_alignment);
    reader->alignment = alignment;
    reader->has_alignment = 1;
    return status;
}

/* A part of a file that was split has an incomplete layer at each end. */
static mglu_status read_split_count(struct reader *reader, uint32_t type)
{
    uint16_t parts = 0;
    mglu_status status;

    if (type != MGLU_IO_GGUF_UINT16)
        return mglu_io_stream_fail(&reader->stream, "split.count: type %u, expected uint16", type);
    status = mglu_io_stream_take(&reader->stream, &parts, sizeof parts);
    if (status == MGLU_OK && parts > 1)
        return UNSUPPORTED(reader, "one of %u parts of a split model: merge them, as with llama-gguf-split --merge",
                           parts);
    return status;
}

static int is_kept(const char *key, uint32_t type)
{
    return type == MGLU_IO_GGUF_STRING && (strncmp(key, "general.", 8) == 0 || strncmp(key, "mglu.", 5) == 0);
}

/* An empty text is as good as none. */
static mglu_status keep_text(struct reader *reader, char **key)
{
    struct mglu_io_gguf *gguf = reader->gguf;
    struct mglu_io_stream *stream = &reader->stream;
    char *value;
    uint64_t length = 0;
    mglu_status status = mglu_io_stream_u64(stream, &length);

    if (status != MGLU_OK || length == 0)
        return status;
    stream->at -= sizeof length;
    status = mglu_io_stream_text(stream, *key, MAX_VALUE, &value);
    if (status != MGLU_OK)
        return status;
    gguf->texts[gguf->text_count++] = (struct mglu_io_gguf_text){*key, value};
    *key = NULL;
    return MGLU_OK;
}

/* `*key` becomes NULL where it is kept. */
static mglu_status read_value(struct reader *reader, char **key)
{
    uint32_t type = 0;
    mglu_status status = mglu_io_stream_u32(&reader->stream, &type);

    if (status != MGLU_OK)
        return status;
    if (strcmp(*key, "general.alignment") == 0)
        return read_alignment(reader, type);
    if (strcmp(*key, "split.count") == 0)
        return read_split_count(reader, type);
    return is_kept(*key, type) ? keep_text(reader, key) : mglu_io_gguf_skip_value(&reader->stream, type);
}

static mglu_status read_text(struct reader *reader)
{
    char *key;
    mglu_status status = mglu_io_stream_text(&reader->stream, "key", MAX_KEY, &key);

    if (status == MGLU_OK)
        status = read_value(reader, &key);
    free(key);
    return status;
}

/* The bytes of a tensor, from its type and sizes. */
static mglu_status measure(const struct reader *reader, struct mglu_io_gguf_tensor *tensor)
{
    const struct mglu_io_ggml_type *type = mglu_io_ggml_type(tensor->type);
    uint64_t count;

    if (!type)
        return CORRUPT(reader, tensor->name, "type %u is unknown to this version of mglu", tensor->type);
    if (tensor->size[0] % type->elements != 0)
        return CORRUPT(reader, tensor->name, "rows of %lld, but %s has blocks of %u", (long long)tensor->size[0],
                       type->name, type->elements);
    count = (uint64_t)tensor->size[0] / type->elements;
    for (int i = 1; i < MGLU_IO_GGUF_MAX_RANK; i++)
        if (__builtin_mul_overflow(count, (uint64_t)tensor->size[i], &count))
            return CORRUPT(reader, tensor->name, "its sizes are too large");
    if (__builtin_mul_overflow(count, type->bytes, &tensor->bytes))
        return CORRUPT(reader, tensor->name, "its sizes are too large");
    return MGLU_OK;
}

static mglu_status read_sizes(struct reader *reader, struct mglu_io_gguf_tensor *tensor)
{
    mglu_status status = mglu_io_stream_u32(&reader->stream, &tensor->rank);

    if (status == MGLU_OK && tensor->rank > MGLU_IO_GGUF_MAX_RANK)
        return CORRUPT(reader, tensor->name, "%u dimensions, at most %d are allowed", tensor->rank,
                       MGLU_IO_GGUF_MAX_RANK);
    for (uint32_t i = 0; i < MGLU_IO_GGUF_MAX_RANK && status == MGLU_OK; i++) {
        uint64_t size = 1;

        if (i < tensor->rank)
            status = mglu_io_stream_u64(&reader->stream, &size);
        if (size > INT64_MAX)
            return CORRUPT(reader, tensor->name, "size %u is %llu", i, (unsigned long long)size);
        tensor->size[i] = (int64_t)size;
    }
    return status;
}

/* Its offset is still relative to the data. */
static mglu_status read_tensor(struct reader *reader)
{
    struct mglu_io_gguf_tensor *tensor = &reader->gguf->tensors[reader->gguf->tensor_count];
    mglu_status status = mglu_io_stream_text(&reader->stream, "tensor name", MAX_NAME, &tensor->name);

    if (status != MGLU_OK)
        return status;
    reader->gguf->tensor_count++;
    status = read_sizes(reader, tensor);
    if (status == MGLU_OK)
        status = mglu_io_stream_u32(&reader->stream, &tensor->type);
    if (status == MGLU_OK)
        status = mglu_io_stream_u64(&reader->stream, &tensor->offset);
    return status == MGLU_OK ? measure(reader, tensor) : status;
}

static int compare_places(const void *a, const void *b)
{
    const struct mglu_io_gguf_tensor *left = a, *right = b;

    if (left->offset != right->offset)
        return left->offset < right->offset ? -1 : 1;
    if (left->bytes != right->bytes)
        return left->bytes < right->bytes ? -1 : 1;
    return strcmp(left->name, right->name);
}

/* Tensors begin at multiples of the alignment, are inside the file and do not overlap. Gaps are allowed. */
static mglu_status place_tensors(struct reader *reader)
{
    struct mglu_io_gguf *gguf = reader->gguf;
    uint64_t begin = (reader->stream.at + reader->alignment - 1) / reader->alignment * reader->alignment;
    uint64_t size = reader->stream.size > begin ? reader->stream.size - begin : 0, end = 0;

    qsort(gguf->tensors, gguf->tensor_count, sizeof *gguf->tensors, compare_places);
    for (size_t i = 0; i < gguf->tensor_count; i++) {
        struct mglu_io_gguf_tensor *tensor = &gguf->tensors[i];

        if (tensor->offset % reader->alignment != 0)
            return CORRUPT(reader, tensor->name, "begins at byte %llu of the data, not at a multiple of %u",
                           (unsigned long long)tensor->offset, reader->alignment);
        if (tensor->offset > size || tensor->bytes > size - tensor->offset)
            return CORRUPT(
                reader, tensor->name, "%llu bytes from byte %llu of the data on, but the file has %llu: truncated",
                (unsigned long long)tensor->bytes, (unsigned long long)tensor->offset, (unsigned long long)size);
        if (tensor->offset < end)
            return CORRUPT(reader, tensor->name, "overlap: begins at byte %llu of the data, another ends at %llu",
                           (unsigned long long)tensor->offset, (unsigned long long)end);
        end = tensor->offset + tensor->bytes;
        tensor->offset += begin;
    }
    return MGLU_OK;
}

static mglu_status index_names(const struct reader *reader)
{
    struct mglu_io_gguf *gguf = reader->gguf;
    const char *twice;

    if (!mglu_io_index_build(&gguf->by_name, gguf->tensors, gguf->tensor_count, sizeof *gguf->tensors) ||
        !mglu_io_index_build(&gguf->by_key, gguf->texts, gguf->text_count, sizeof *gguf->texts))
        return mglu_io_out_of_memory(reader->stream.path);
    twice = mglu_io_index_duplicate(&gguf->by_name);
    if (twice)
        return CORRUPT(reader, twice, "appears twice");
    twice = mglu_io_index_duplicate(&gguf->by_key);
    return twice ? CORRUPT(reader, NULL, "metadata '%.80s' appears twice", twice) : MGLU_OK;
}

static mglu_status read_entries(struct reader *reader, uint64_t tensors, uint64_t texts)
{
    struct mglu_io_gguf *gguf = reader->gguf;
    mglu_status status = MGLU_OK;

    gguf->tensors = calloc(tensors + 1, sizeof *gguf->tensors);
    gguf->texts = calloc(texts + 1, sizeof *gguf->texts);
    if (!gguf->tensors || !gguf->texts)
        return mglu_io_out_of_memory(reader->stream.path);
    for (uint64_t i = 0; i < texts && status == MGLU_OK; i++)
        status = read_text(reader);
    for (uint64_t i = 0; i < tensors && status == MGLU_OK; i++)
        status = read_tensor(reader);
    return status;
}

mglu_status mglu_io_gguf_read_header(const char *path, int descriptor, uint64_t size, struct mglu_io_gguf *gguf)
{
    struct reader reader = {.gguf = gguf, .alignment = default_alignment};
    uint64_t tensors = 0, texts = 0;
    mglu_status status;

    mglu_io_stream_begin(&reader.stream, path, descriptor, size);
    status = read_version(&reader);
    if (status == MGLU_OK)
        status = read_count(&reader, "tensors", SHORTEST_TENSOR, MAX_TENSORS, &tensors);
    if (status == MGLU_OK)
        status = read_count(&reader, "metadata entries", SHORTEST_TEXT, MAX_TEXTS, &texts);
    if (status == MGLU_OK)
        status = read_entries(&reader, tensors, texts);
    if (status == MGLU_OK)
        status = place_tensors(&reader);
    return status == MGLU_OK ? index_names(&reader) : status; /* of tensors that no longer move */
}

void mglu_io_gguf_clear(struct mglu_io_gguf *gguf)
{
    for (size_t i = 0; i < gguf->tensor_count; i++)
        free(gguf->tensors[i].name);
    for (size_t i = 0; i < gguf->text_count; i++) {
        free(gguf->texts[i].key);
        free(gguf->texts[i].value);
    }
    free(gguf->tensors);
    free(gguf->texts);
    free(gguf->memory);
    mglu_io_index_clear(&gguf->by_name);
    mglu_io_index_clear(&gguf->by_key);
    *gguf = (struct mglu_io_gguf){0};
}

const char *mglu_io_gguf_text(const struct mglu_io_gguf *gguf, const char *key)
{
    const struct mglu_io_gguf_text *found = mglu_io_index_find(&gguf->by_key, &(struct mglu_io_name){{key}});

    return found ? found->value : NULL;
}

struct mglu_io_gguf_tensor *mglu_io_gguf_find(const struct mglu_io_gguf *gguf, const char *block, const char *part,
                                              const char *leaf)
{
    return (struct mglu_io_gguf_tensor *)mglu_io_index_find(&gguf->by_name,
                                                            &(struct mglu_io_name){{block, part, leaf}});
}
