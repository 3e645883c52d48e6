/* SPDX-License-Identifier: MIT */
#ifndef MGLU_IO_GGUF_CHECK_H
#define MGLU_IO_GGUF_CHECK_H

#include "common/io/gguf_header.h"
#include "common/io/gguf_names.h"

/*
 * Marks the tensors of all layers as wanted. Layers that would be computed wrongly are refused by the name of a tensor:
 * types that the library does not have, parts that are missing, contradict each other or are unknown, and blocks that
 * are no gated linear units. A file without layers is refused.
 */
mglu_status mglu_io_gguf_check_layers(const char *path, struct mglu_io_gguf *gguf);

/* Whether `name`, a part of a block, is ffn_up with the rows of gate and value. */
int mglu_io_gguf_is_fused(const struct mglu_io_gguf *gguf, const struct mglu_io_gguf_name *name);

#endif
