/* SPDX-License-Identifier: MIT */
#ifndef MGLU_IO_GGUF_VALUES_H
#define MGLU_IO_GGUF_VALUES_H

#include "common/io/gguf_stream.h"

/* Types of metadata that have a meaning here. */
enum { MGLU_IO_GGUF_UINT16 = 2, MGLU_IO_GGUF_UINT32 = 4, MGLU_IO_GGUF_STRING = 8, MGLU_IO_GGUF_ARRAY = 9 };

/* Skips a value of any type, arrays of arrays included. */
mglu_status mglu_io_gguf_skip_value(struct mglu_io_stream *stream, uint32_t type);

#endif
