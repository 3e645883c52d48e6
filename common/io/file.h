/* SPDX-License-Identifier: MIT */
#ifndef MGLU_IO_FILE_H
#define MGLU_IO_FILE_H

#include <mglu/io.h>

#include "common/io/index.h"

/* An open file, as the parts of libmglu-io see it. */

struct mglu_io_metadata {
    const char *key;
    const char *value;
};

/* Where the bytes of a tensor are, in pieces of `part` bytes that begin `stride` bytes after each other. */
struct mglu_io_origin {
    uint64_t offset;       /* of the first, in the file */
    uint32_t stride, part; /* equal: in one piece */
    uint32_t shard;
};

struct mglu_file {
    char *path;
    uint32_t flags;   /* of mglu_file_open() */
    size_t size;      /* of the file: 8 bytes of length, header, data */
    size_t data_size; /* the data is the end of the file */
    void *memory;     /* the data; mapped: the whole file; NULL: not read */
    int mapped;
    int descriptor;                 /* of a file whose header alone was read, else -1 */
    struct mglu_io_origin *origins; /* then, of the tensors, else NULL */
    mglu_file **shards;             /* the files of a sharded folder, which has no data of its own, else NULL */
    size_t shard_count;
    struct mglu_io_gguf *gguf; /* the source of all below where the file is GGUF, else NULL */
    char *texts;               /* every name, key and value of the header */
    int64_t *dims;             /* every shape */
    mglu_file_tensor *tensors; /* in the order of their data */
    size_t tensor_count;
    struct mglu_io_metadata *metadata; /* in the order of the file */
    size_t metadata_count;
    struct mglu_io_index by_name; /* tensors */
    struct mglu_io_index by_key;  /* metadata */
    char *layer_texts;
    size_t layer_text_size;
    const char **layers; /* prefixes */
    size_t layer_count;
    struct mglu_io_derived *derived; /* may grow while the file is open */
};

/* A file without content; mglu_file_close() frees it. NULL when out of memory, which mglu_last_error() then says. */
mglu_file *mglu_io_file_create(const char *path, uint32_t flags);

/* Opens a file, without its list of layers. */
mglu_status mglu_io_file_load(const char *path, uint32_t flags, mglu_file **file);

/* Refuses flags that are not known, or contradict each other. */
mglu_status mglu_io_check_flags(const char *function, uint32_t flags);

/* The tensor `prefix`.`inner`.`leaf`, or NULL; empty parts are omitted with their dot. */
const mglu_file_tensor *mglu_io_find(const mglu_file *file, const char *prefix, const char *inner, const char *leaf);

/* Fills the list of layers of a file whose tensors are known. */
mglu_status mglu_io_list_layers(mglu_file *file);

#endif
