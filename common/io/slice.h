/* SPDX-License-Identifier: MIT */
#ifndef MGLU_IO_SLICE_H
#define MGLU_IO_SLICE_H

#include "common/io/derived.h"

/* Where an array of a layer is in a file: rows of elements as they are stored, which may be apart. */
struct mglu_io_slice {
    const mglu_file_tensor *tensor; /* as the file has it: for several experts, it may be a stack */
    struct mglu_io_grid grid;
};

/* Bytes of a row. */
size_t mglu_io_slice_row_bytes(const struct mglu_io_slice *slice);

/* Reads rows, one after the other without gaps. */
mglu_status mglu_io_slice_read(const mglu_file *file, const struct mglu_io_slice *slice, int64_t first, int64_t rows,
                               void *bytes);

#endif
