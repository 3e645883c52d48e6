/* SPDX-License-Identifier: MIT */
#ifndef MGLU_IO_GGUF_PLAN_H
#define MGLU_IO_GGUF_PLAN_H

#include "common/io/file.h"
#include "common/io/gguf_header.h"
#include "common/io/masks.h"
#include "common/io/slice.h"

/* The tensors of a GGUF file that is to be written. */

enum mglu_io_gguf_item_kind {
    MGLU_IO_GGUF_ITEM_MATRIX, /* converted to `dtype` */
    MGLU_IO_GGUF_ITEM_FLOATS, /* written as they are: biases, a router */
    MGLU_IO_GGUF_ITEM_MASKS   /* as words, 4 bytes each */
};

struct mglu_io_gguf_item {
    char name[48];
    const char *layer; /* its name in the source, for errors */
    enum mglu_io_gguf_item_kind kind;
    struct mglu_io_slice source, scales; /* scales: of quants only */
    struct mglu_io_masks masks;
    mglu_dtype source_dtype, dtype; /* F64 is read as F32 */
    int64_t rows, columns;
    uint32_t type, rank;
    uint64_t size[MGLU_IO_GGUF_MAX_RANK];
    uint64_t bytes;
    uint64_t offset; /* in the file; set when the header is written */
};

struct mglu_io_gguf_plan {
    const mglu_file *file;
    const mglu_file_pack_options *options;
    struct mglu_io_gguf_item *items;
    size_t count, room;
    struct mglu_io_output *output;
};

/* Lists the tensors of all layers of a file whose header was read. The caller frees plan->items, also after a failure.
 */
mglu_status mglu_io_gguf_plan_layers(struct mglu_io_gguf_plan *plan);

#endif
