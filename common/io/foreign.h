/* SPDX-License-Identifier: MIT */
#ifndef MGLU_IO_FOREIGN_H
#define MGLU_IO_FOREIGN_H

#include <mglu/status.h>

#include <stddef.h>

/* Bytes at the start of a file that are enough to recognise it. */
enum { MGLU_IO_START_BYTES = 512 };

/*
 * Refuses, by its name, a file of another kind that people take for a model: a web page, a Git LFS pointer, a pickle,
 * an index. MGLU_OK for everything else, and for every file that can be safetensors.
 */
mglu_status mglu_io_refuse_foreign(const char *path, const unsigned char *start, size_t count);

#endif
