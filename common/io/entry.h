/* SPDX-License-Identifier: MIT */
#ifndef MGLU_IO_ENTRY_H
#define MGLU_IO_ENTRY_H

#include "common/io/file.h"
#include "common/json/json.h"

/*
 * Reads the object that describes one tensor, whose first token is the last one read, into all members except the
 * name, which is already set, and checks that dtype, shape and offsets are consistent and within the data. The shape
 * is written to `dims`, which has room for all numbers in the entry's shapes; `data` becomes the offset.
 */
mglu_status mglu_io_read_entry(const mglu_file *file, struct mglu_json *json, int64_t *dims, mglu_file_tensor *tensor);

#endif
