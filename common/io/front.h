/* SPDX-License-Identifier: MIT */
#ifndef MGLU_IO_FRONT_H
#define MGLU_IO_FRONT_H

#include "common/io/file.h"
#include "common/io/output.h"

/*
 * Writing what precedes the data of a file: the length of the header and the header, padded with spaces so that the
 * data begins at a multiple of MGLU_IO_DATA_ALIGNMENT. The text is never in memory as a whole.
 */

enum { MGLU_IO_DATA_ALIGNMENT = 64 };

/* What the header says of a tensor. */
struct mglu_io_entry {
    const char *name, *tail; /* its name in two parts */
    mglu_file_dtype dtype;
    int32_t rank;
    const int64_t *shape;
    int64_t own_shape[4]; /* for a shape that is stored nowhere else */
    size_t bytes;
};

/* The content of a header. Texts are UTF-8. */
struct mglu_io_front {
    const struct mglu_io_metadata *metadata;
    size_t metadata_count;
    size_t count; /* tensors, in the order of their data */
    void (*describe)(const void *source, size_t index, struct mglu_io_entry *entry); /* fills an entry that is zero */
    const void *source;
};

mglu_status mglu_io_front_write(const struct mglu_io_front *front, struct mglu_io_output *output);

/*
 * Sorts indices of tensors for a file: in descending order of the largest power of two, up to MGLU_IO_DATA_ALIGNMENT,
 * that divides their bytes, otherwise as they were. The format allows no gaps between tensors; in this order each
 * begins at a multiple of that power.
 */
void mglu_io_order(const size_t *bytes, size_t count, uint32_t *order);

#endif
