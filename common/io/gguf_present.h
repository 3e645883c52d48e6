/* SPDX-License-Identifier: MIT */
#ifndef MGLU_IO_GGUF_PRESENT_H
#define MGLU_IO_GGUF_PRESENT_H

#include "common/io/file.h"
#include "common/io/gguf_header.h"

/*
 * Fills the tensors and metadata of `file` with the layers of a GGUF file, under the names and in the forms that they
 * have in safetensors files (docs/format.md): the rest of the library sees no difference. The data has been read.
 */
mglu_status mglu_io_gguf_present(const struct mglu_io_gguf *gguf, mglu_file *file);

#endif
