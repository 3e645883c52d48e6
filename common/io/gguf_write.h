/* SPDX-License-Identifier: MIT */
#ifndef MGLU_IO_GGUF_WRITE_H
#define MGLU_IO_GGUF_WRITE_H

#include "common/io/file.h"
#include "common/io/output.h"

/*
 * Writes all layers of an open file into a GGUF file, packed and converted as `options` say; docs/format.md has its
 * tensors and keys. The file's header is enough: data are read in pieces.
 */
mglu_status mglu_io_gguf_write(const mglu_file *file, const mglu_file_pack_options *options,
                               struct mglu_io_output *output);

#endif
