/* SPDX-License-Identifier: MIT */
#ifndef MGLU_IO_SHARD_INDEX_H
#define MGLU_IO_SHARD_INDEX_H

#include "common/io/index.h"

#include <mglu/status.h>

/* model.safetensors.index.json: which file of a folder has which tensor. */

#define MGLU_IO_SHARD_INDEX "model.safetensors.index.json"

/* Far above any model; each file is open while a model is packed. */
enum { MGLU_IO_MAX_SHARDS = 512 };

struct mglu_io_placed {
    const char *tensor; /* first, for the index */
    const char *shard;
};

struct mglu_io_shard_index {
    char *texts;
    struct mglu_io_placed *placed;
    size_t count;
    struct mglu_io_index by_name;
    const char **shards; /* the names of the files, sorted */
    size_t shard_count;
};

/* Reads and checks the file at `path`. mglu_io_shard_index_clear() frees the result, also after a failure. */
mglu_status mglu_io_shard_index_read(struct mglu_io_shard_index *index, const char *path);

void mglu_io_shard_index_clear(struct mglu_io_shard_index *index);

#endif
