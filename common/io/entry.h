/* SPDX-License-Identifier: MIT */
#ifndef MGLU_IO_ENTRY_H
#define MGLU_IO_ENTRY_H

#include "common/io/file.h"

/* The data section of a file. */
struct mglu_io_data {
    const unsigned char *first;
    size_t size;
};

/*
 * Reads the JSON object that describes one tensor into all members except the name, which is already set, and checks
 * that dtype, shape and offsets are consistent and within the data.
 */
mglu_status mglu_io_read_entry(const char *path, const char *text, size_t length, const struct mglu_io_data *data,
                               mglu_file_tensor *tensor);

#endif
