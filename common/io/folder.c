/* SPDX-License-Identifier: MIT */
#include "common/io/file.h"
#include "common/io/report.h"
#include "common/io/shard_index.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/*
 * A sharded folder is a file whose tensors are those of other files, its shards. They keep what they have read; the
 * file of the folder has copies of their lists.
 */

static char *join(const char *folder, const char *name)
{
    size_t size = strlen(folder) + strlen(name) + 2;
    char *path = malloc(size);

    if (path)
        snprintf(path, size, "%s/%s", folder, name);
    else
        mglu_io_out_of_memory(folder);
    return path;
}

static mglu_status open_shard(mglu_file *file, const char *folder, const char *name)
{
    char *path = join(folder, name);
    mglu_status status;

    if (!path)
        return MGLU_ERROR_OUT_OF_MEMORY;
    if (access(path, F_OK) != 0)
        status = mglu_io_fail(MGLU_ERROR_IO, file->path, NULL, "shard '%.100s': is not in the folder", name);
    else
        status = mglu_io_file_load(path, file->flags, &file->shards[file->shard_count]);
    if (status == MGLU_OK) {
        const mglu_file *shard = file->shards[file->shard_count++];

        file->tensor_count += shard->tensor_count;
        file->metadata_count += shard->metadata_count;
        if (shard->gguf)
            status = mglu_io_fail(MGLU_ERROR_CORRUPT_FILE, file->path, NULL,
                                  "shard '%.100s': is a GGUF file, expected safetensors", name);
    }
    free(path);
    return status;
}

/* Whether the index names this shard for a tensor that is in it. */
static mglu_status check_placed(const mglu_file *file, const struct mglu_io_shard_index *index, const char *shard,
                                const char *tensor)
{
    const struct mglu_io_placed *placed = mglu_io_index_find(&index->by_name, &(struct mglu_io_name){{tensor}});

    if (!placed)
        return mglu_io_fail(MGLU_ERROR_CORRUPT_FILE, file->path, tensor,
                            "is in shard '%.80s', but not in the index: add it to weight_map, or remove it", shard);
    if (strcmp(placed->shard, shard) != 0)
        return mglu_io_fail(MGLU_ERROR_CORRUPT_FILE, file->path, tensor,
                            "is in shard '%.80s', but in '%.80s' by the index", shard, placed->shard);
    return MGLU_OK;
}

/* Copies the tensors of a shard to the list, which has room for them. */
static mglu_status take_tensors(mglu_file *file, const struct mglu_io_shard_index *index, size_t number)
{
    const mglu_file *shard = file->shards[number];

    for (size_t i = 0; i < shard->tensor_count; i++) {
        mglu_status status = check_placed(file, index, index->shards[number], shard->tensors[i].name);

        if (status != MGLU_OK)
            return status;
        if (file->origins) {
            file->origins[file->tensor_count] = shard->origins[i];
            file->origins[file->tensor_count].shard = (uint32_t)number;
        }
        file->tensors[file->tensor_count++] = shard->tensors[i];
    }
    return MGLU_OK;
}

/* No tensor is in two shards, for each is in the one that the index names; so counts tell whether one is missing. */
static mglu_status check_missing(const mglu_file *file, const struct mglu_io_shard_index *index)
{
    for (size_t i = 0; i < index->count && file->tensor_count < index->count; i++)
        if (!mglu_file_find(file, index->placed[i].tensor))
            return mglu_io_fail(MGLU_ERROR_CORRUPT_FILE, file->path, index->placed[i].tensor,
                                "is not in shard '%.80s', where the index has it", index->placed[i].shard);
    return MGLU_OK;
}

static int compare_keys(const void *a, const void *b)
{
    const struct mglu_io_metadata *left = a, *right = b;
    int order = strcmp(left->key, right->key);

    return order ? order : strcmp(left->value, right->value);
}

/* The metadata of all shards. Of the keys that say how layers are computed, every value must be the same. */
static mglu_status unite_metadata(mglu_file *file)
{
    size_t count = 0, kept = 0;

    for (size_t i = 0; i < file->shard_count; i++) {
        const mglu_file *shard = file->shards[i];

        memcpy(file->metadata + count, shard->metadata, shard->metadata_count * sizeof *shard->metadata);
        count += shard->metadata_count;
    }
    qsort(file->metadata, count, sizeof *file->metadata, compare_keys);
    for (size_t i = 0; i < count; i++) {
        const struct mglu_io_metadata *pair = &file->metadata[i], *last = kept ? &file->metadata[kept - 1] : NULL;

        if (!last || strcmp(last->key, pair->key) != 0)
            file->metadata[kept++] = *pair;
        else if (strcmp(last->value, pair->value) != 0 && strncmp(pair->key, "mglu.", 5) == 0 &&
                 strcmp(pair->key, "mglu.producer") != 0)
            return mglu_io_fail(MGLU_ERROR_CORRUPT_FILE, file->path, NULL,
                                "metadata '%.60s' is '%.60s' in one shard and '%.60s' in another", pair->key,
                                last->value, pair->value);
    }
    file->metadata_count = kept;
    return mglu_io_index_build(&file->by_key, file->metadata, kept, sizeof *file->metadata)
               ? MGLU_OK
               : mglu_io_out_of_memory(file->path);
}

static mglu_status unite(mglu_file *file, const struct mglu_io_shard_index *index)
{
    size_t tensors = file->tensor_count;
    mglu_status status = MGLU_OK;

    file->tensors = malloc((tensors + 1) * sizeof *file->tensors);
    file->metadata = malloc((file->metadata_count + 1) * sizeof *file->metadata);
    if (file->flags & MGLU_FILE_HEADER)
        file->origins = malloc((tensors + 1) * sizeof *file->origins);
    if (!file->tensors || !file->metadata || (file->flags & MGLU_FILE_HEADER && !file->origins))
        return mglu_io_out_of_memory(file->path);
    file->tensor_count = 0;
    for (size_t i = 0; i < file->shard_count && status == MGLU_OK; i++)
        status = take_tensors(file, index, i);
    if (status == MGLU_OK && !mglu_io_index_build(&file->by_name, file->tensors, tensors, sizeof *file->tensors))
        status = mglu_io_out_of_memory(file->path);
    if (status == MGLU_OK)
        status = check_missing(file, index);
    if (status == MGLU_OK)
        status = unite_metadata(file);
    return status == MGLU_OK ? mglu_io_list_layers(file) : status;
}

static mglu_status open_shards(mglu_file *file, const char *folder, const struct mglu_io_shard_index *index)
{
    mglu_status status = MGLU_OK;

    file->shards = calloc(index->shard_count, sizeof(mglu_file *));
    if (!file->shards)
        return mglu_io_out_of_memory(file->path);
    for (size_t i = 0; i < index->shard_count && status == MGLU_OK; i++)
        status = open_shard(file, folder, index->shards[i]);
    return status == MGLU_OK ? unite(file, index) : status;
}

static mglu_status open_index(const char *folder, const char *path, uint32_t flags, mglu_file **file)
{
    struct mglu_io_shard_index index;
    mglu_status status = mglu_io_shard_index_read(&index, path);

    if (status == MGLU_OK) {
        *file = mglu_io_file_create(path, flags);
        status = *file ? open_shards(*file, folder, &index) : MGLU_ERROR_OUT_OF_MEMORY;
    }
    if (status != MGLU_OK)
        mglu_file_close(file);
    mglu_io_shard_index_clear(&index);
    return status;
}

static mglu_status open_either(const char *folder, const char *whole, const char *index, uint32_t flags,
                               mglu_file **file)
{
    if (access(whole, F_OK) == 0)
        return mglu_file_open(whole, flags, file);
    if (access(index, F_OK) == 0)
        return open_index(folder, index, flags, file);
    return mglu_io_fail(MGLU_ERROR_IO, folder, NULL, "has neither model.safetensors nor %s", MGLU_IO_SHARD_INDEX);
}

mglu_status mglu_file_open_folder(const char *path, uint32_t flags, mglu_file **file)
{
    char *whole, *index;
    mglu_status status;

    if (!file)
        return mglu_fail(MGLU_ERROR_INVALID_ARGUMENT, "mglu_file_open_folder: file is NULL");
    *file = NULL;
    if (!path)
        return mglu_fail(MGLU_ERROR_INVALID_ARGUMENT, "mglu_file_open_folder: path is NULL");
    status = mglu_io_check_flags("mglu_file_open_folder", flags);
    if (status != MGLU_OK)
        return status;
    whole = join(path, "model.safetensors");
    index = whole ? join(path, MGLU_IO_SHARD_INDEX) : NULL;
    status = index ? open_either(path, whole, index, flags, file) : MGLU_ERROR_OUT_OF_MEMORY;
    free(whole);
    free(index);
    return status;
}
