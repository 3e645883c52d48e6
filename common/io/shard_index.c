/* SPDX-License-Identifier: MIT */
#include "common/io/shard_index.h"

#include "common/io/gguf_stream.h"
#include "common/io/report.h"
#include "common/json/json.h"

#include <mglu/io.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* The limit of a header of safetensors, which says the same of tensors and more. */
enum { MAX_BYTES = 100000000, MAX_TENSORS = 1 << 20 };

#define CORRUPT(path, tensor, ...) mglu_io_fail(MGLU_ERROR_CORRUPT_FILE, path, tensor, __VA_ARGS__)

struct reader {
    struct mglu_io_shard_index *index;
    const char *path;
    struct mglu_json json;
    char *free_text;
};

static mglu_status syntax_fault(const struct reader *reader)
{
    return CORRUPT(reader->path, NULL, "byte %zu: %s", mglu_json_offset(&reader->json), reader->json.fault);
}

/* Stores the key or string that was read last. */
static const char *take_text(struct reader *reader)
{
    char *text = reader->free_text;

    reader->free_text += mglu_json_decode(&reader->json, text) + 1;
    return text;
}

/* A shard is a file of the same folder: a name that leads elsewhere is refused. */
static mglu_status check_shard(const char *path, const struct mglu_io_placed *placed)
{
    if (!*placed->shard || strchr(placed->shard, '/') || strcmp(placed->shard, ".") == 0 ||
        strcmp(placed->shard, "..") == 0)
        return CORRUPT(path, placed->tensor, "its shard is '%.80s', expected the name of a file in the same folder",
                       placed->shard);
    return MGLU_OK;
}

static mglu_status read_map(struct reader *reader)
{
    struct mglu_io_shard_index *index = reader->index;
    mglu_status status = MGLU_OK;

    if (index->count)
        return CORRUPT(reader->path, NULL, "weight_map appears twice");
    if (reader->json.token != MGLU_JSON_OBJECT)
        return CORRUPT(reader->path, NULL, "weight_map is not an object");
    while (status == MGLU_OK && mglu_json_next(&reader->json) == MGLU_JSON_KEY) {
        struct mglu_io_placed *placed = &index->placed[index->count++];

        placed->tensor = take_text(reader);
        if (mglu_json_next(&reader->json) == MGLU_JSON_FAULT)
            return syntax_fault(reader);
        if (reader->json.token != MGLU_JSON_STRING)
            return CORRUPT(reader->path, placed->tensor, "its shard is not a string");
        placed->shard = take_text(reader);
        status = check_shard(reader->path, placed);
    }
    return status == MGLU_OK && reader->json.token == MGLU_JSON_FAULT ? syntax_fault(reader) : status;
}

/* Other keys, as metadata with the total size, are skipped: the shards themselves say more. */
static mglu_status read_members(struct reader *reader)
{
    mglu_status status = MGLU_OK;

    if (mglu_json_next(&reader->json) == MGLU_JSON_FAULT)
        return syntax_fault(reader);
    if (reader->json.token != MGLU_JSON_OBJECT)
        return CORRUPT(reader->path, NULL, "not a JSON object: not an index of shards");
    while (status == MGLU_OK && mglu_json_next(&reader->json) == MGLU_JSON_KEY) {
        int is_map = mglu_json_equals(&reader->json, "weight_map");

        if (mglu_json_next(&reader->json) == MGLU_JSON_FAULT)
            return syntax_fault(reader);
        if (is_map)
            status = read_map(reader);
        else if (!mglu_json_skip(&reader->json))
            return syntax_fault(reader);
    }
    if (status == MGLU_OK && (reader->json.token == MGLU_JSON_FAULT || mglu_json_next(&reader->json) != MGLU_JSON_END))
        return syntax_fault(reader);
    if (status == MGLU_OK && reader->index->count == 0)
        return CORRUPT(reader->path, NULL, "has no weight_map, or an empty one");
    return status;
}

static int compare_texts(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Sorts the names, and keeps each once. */
static mglu_status list_shards(struct mglu_io_shard_index *index, const char *path)
{
    index->shards = malloc(index->count * sizeof *index->shards);
    if (!index->shards || !mglu_io_index_build(&index->by_name, index->placed, index->count, sizeof *index->placed))
        return mglu_io_out_of_memory(path);
    if (mglu_io_index_duplicate(&index->by_name))
        return CORRUPT(path, mglu_io_index_duplicate(&index->by_name), "appears twice");
    for (size_t i = 0; i < index->count; i++)
        index->shards[i] = index->placed[i].shard;
    qsort(index->shards, index->count, sizeof *index->shards, compare_texts);
    for (size_t i = 0; i < index->count; i++)
        if (i == 0 || strcmp(index->shards[i], index->shards[index->shard_count - 1]) != 0)
            index->shards[index->shard_count++] = index->shards[i];
    if (index->shard_count > MGLU_IO_MAX_SHARDS)
        return CORRUPT(path, NULL, "names %zu shards, at most %d are read", index->shard_count, MGLU_IO_MAX_SHARDS);
    return MGLU_OK;
}

/* Room for every text, and for as many tensors as there are keys inside of an object. */
static mglu_status parse(struct mglu_io_shard_index *index, const char *path, const char *text, size_t size)
{
    struct reader reader = {.index = index, .path = path};
    size_t keys = 0, bytes = 0;
    mglu_status status;

    mglu_json_begin(&reader.json, text, size);
    while (mglu_json_next(&reader.json) > MGLU_JSON_END)
        if (reader.json.token == MGLU_JSON_KEY || reader.json.token == MGLU_JSON_STRING) {
            keys += reader.json.token == MGLU_JSON_KEY && mglu_json_depth(&reader.json) == 2;
            bytes += reader.json.length + 1;
        }
    if (keys > MAX_TENSORS)
        return CORRUPT(path, NULL, "more than %d tensors", MAX_TENSORS);
    index->texts = reader.free_text = malloc(bytes + 1);
    index->placed = malloc((keys + 1) * sizeof *index->placed);
    if (!index->texts || !index->placed)
        return mglu_io_out_of_memory(path);
    mglu_json_begin(&reader.json, text, size);
    status = read_members(&reader);
    return status == MGLU_OK ? list_shards(index, path) : status;
}

static mglu_status read_descriptor(struct mglu_io_shard_index *index, const char *path, int descriptor)
{
    struct stat about;
    char *text;
    mglu_status status;

    if (fstat(descriptor, &about) != 0 || !S_ISREG(about.st_mode))
        return mglu_io_fail(MGLU_ERROR_IO, path, NULL, "not a regular file");
    if (about.st_size > MAX_BYTES)
        return CORRUPT(path, NULL, "%lld bytes, an index of shards has at most %d", (long long)about.st_size,
                       MAX_BYTES);
    text = malloc((size_t)about.st_size + 1);
    if (!text)
        return mglu_io_out_of_memory(path);
    status = mglu_io_read_at(path, descriptor, 0, text, (size_t)about.st_size);
    if (status == MGLU_OK)
        status = parse(index, path, text, (size_t)about.st_size);
    free(text);
    return status;
}

mglu_status mglu_io_shard_index_read(struct mglu_io_shard_index *index, const char *path)
{
    mglu_status status;
    int descriptor;

    *index = (struct mglu_io_shard_index){0};
    do
        descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    while (descriptor < 0 && errno == EINTR);
    if (descriptor < 0)
        return mglu_io_system_error(path, "cannot open");
    status = read_descriptor(index, path, descriptor);
    close(descriptor);
    return status;
}

void mglu_io_shard_index_clear(struct mglu_io_shard_index *index)
{
    free(index->texts);
    free(index->placed);
    free(index->shards);
    mglu_io_index_clear(&index->by_name);
}
