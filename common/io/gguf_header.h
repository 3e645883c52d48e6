/* SPDX-License-Identifier: MIT */
#ifndef MGLU_IO_GGUF_HEADER_H
#define MGLU_IO_GGUF_HEADER_H

#include "common/io/index.h"

#include <mglu/status.h>

#include <stdint.h>

enum { MGLU_IO_GGUF_MAX_RANK = 4 };

struct mglu_io_gguf_tensor {
    char *name; /* first, for the index */
    uint32_t type;
    uint32_t rank;
    int64_t size[MGLU_IO_GGUF_MAX_RANK]; /* in the order of the file, columns first; 1 beyond the rank */
    uint64_t offset, bytes;              /* in the file */
    int wanted;                          /* belongs to a layer */
    const unsigned char *data;           /* once it is read: elements, or quants with their scales */
    const unsigned char *scales;
};

struct mglu_io_gguf_text {
    char *key; /* first, for the index */
    char *value;
};

/* What the header of a GGUF file says. */
struct mglu_io_gguf {
    struct mglu_io_gguf_tensor *tensors; /* in the order of their data */
    size_t tensor_count;
    struct mglu_io_gguf_text *texts; /* general.* and mglu.*; all other metadata is skipped */
    size_t text_count;
    struct mglu_io_index by_name, by_key;
    void *memory; /* the data of the layers' tensors */
};

/*
 * Reads and checks the header of a file of `size` bytes: counts, types, sizes, and that tensors are inside the file and
 * do not overlap. mglu_io_gguf_clear() frees the result, also after a failure.
 */
mglu_status mglu_io_gguf_read_header(const char *path, int descriptor, uint64_t size, struct mglu_io_gguf *gguf);

void mglu_io_gguf_clear(struct mglu_io_gguf *gguf);

/* The value of a text, or NULL. */
const char *mglu_io_gguf_text(const struct mglu_io_gguf *gguf, const char *key);

/* The tensor `block`.`part`.`leaf`, or NULL. */
struct mglu_io_gguf_tensor *mglu_io_gguf_find(const struct mglu_io_gguf *gguf, const char *block, const char *part,
                                              const char *leaf);

#endif
