/* SPDX-License-Identifier: MIT */
#ifndef MGLU_IO_HEADER_H
#define MGLU_IO_HEADER_H

#include "common/io/file.h"

/* Bytes before the header: its length, little-endian. */
enum { MGLU_IO_LENGTH_BYTES = 8 };

/* The limit of the reference implementation. */
#define MGLU_IO_MAX_HEADER ((size_t)100000000)

/* Decodes the length of the header of a file of file->size bytes. */
mglu_status mglu_io_header_length(const mglu_file *file, const unsigned char bytes[MGLU_IO_LENGTH_BYTES],
                                  size_t *length);

/*
 * Fills tensors and metadata from the text of the header, which is not needed afterwards. The data need not be in
 * memory: until mglu_io_place_data(), the `data` of a tensor is its offset in it. mglu_file_close() frees the result,
 * also after a failure.
 */
mglu_status mglu_io_read_header(mglu_file *file, const char *text, size_t length);

/* Sorts the tensors and makes the indices. With this, all errors of the header are detected. */
mglu_status mglu_io_index_header(mglu_file *file);

/* Tells the tensors where the data is; NULL where it is not read. */
void mglu_io_place_data(mglu_file *file, const void *data);

#endif
