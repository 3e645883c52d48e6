/* SPDX-License-Identifier: MIT */
#ifndef MGLU_IO_HEADER_H
#define MGLU_IO_HEADER_H

#include "common/io/file.h"

/* Bytes before the header: its length, little-endian. */
enum { MGLU_IO_LENGTH_BYTES = 8 };

/* The limit of the reference implementation. */
#define MGLU_IO_MAX_HEADER ((size_t)100000000)

/* Reads the length of the header from the first 8 bytes of a file of file->size bytes. */
mglu_status mglu_io_header_length(const mglu_file *file, size_t *length);

/*
 * Fills tensors, metadata and their indices from the header, which is in memory; the data need not be yet. All errors
 * of the header are detected here. mglu_file_close() frees the result, also after a failure.
 */
mglu_status mglu_io_read_header(mglu_file *file, size_t length);

#endif
