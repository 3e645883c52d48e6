/* SPDX-License-Identifier: MIT */
#ifndef MGLU_IO_GGUF_H
#define MGLU_IO_GGUF_H

#include "common/io/file.h"

/*
 * GGUF files. gguf_stream and gguf_header read the header, gguf_check refuses layers that would be computed wrongly,
 * gguf_present gives the tensors of the others the names and forms that they have in safetensors files.
 */

/* Whether a file with these first bytes is GGUF. */
int mglu_io_is_gguf(const unsigned char *start, size_t count);

/*
 * Fills `file`, whose path and size are set, from an open GGUF file. With MGLU_FILE_MMAP floats stay in the file;
 * blocks are always copied, since their scales and quants are apart in memory.
 */
mglu_status mglu_io_gguf_load(mglu_file *file, int descriptor, uint32_t flags);

/* Frees what mglu_io_gguf_load() made, also after a failure. */
void mglu_io_gguf_free(mglu_file *file);

#endif
