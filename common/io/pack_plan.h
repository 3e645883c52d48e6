/* SPDX-License-Identifier: MIT */
#ifndef MGLU_IO_PACK_PLAN_H
#define MGLU_IO_PACK_PLAN_H

#include "common/io/front.h"

/* What packing writes: a list of tensors, each made from one of the input, in pieces. */

enum mglu_io_make {
    MGLU_IO_MAKE_COPY,
    MGLU_IO_MAKE_FLOATS, /* of another dtype */
    MGLU_IO_MAKE_QUANTS,
    MGLU_IO_MAKE_SCALES, /* of the quants before it */
    MGLU_IO_MAKE_WORDS   /* of masks */
};

struct mglu_io_planned {
    uint32_t source; /* index in the input */
    uint16_t file;   /* index in the outputs */
    uint8_t make;    /* enum mglu_io_make */
    uint8_t role;    /* enum mglu_io_role */
    uint64_t offset; /* of its data in the file */
};

struct mglu_io_plan {
    const mglu_file *input;
    const mglu_file_pack_options *options;
    struct mglu_io_planned *tensors; /* in the order of the input */
    uint32_t *order;                 /* indices of them in the order of the output */
    size_t count;
    struct mglu_io_output *const *outputs;
};

/* Checks the layers and what is to be converted. mglu_io_plan_clear() frees the result, also after a failure. */
mglu_status mglu_io_plan_make(struct mglu_io_plan *plan);

/* The dtype of the floats that are made of a tensor's. */
mglu_dtype mglu_io_plan_floats(const struct mglu_io_plan *plan, const struct mglu_io_planned *planned);

/* Bytes of all tensors of the output, without the headers of files. */
uint64_t mglu_io_plan_bytes(const struct mglu_io_plan *plan);

void mglu_io_plan_clear(struct mglu_io_plan *plan);

/* For struct mglu_io_front: tensor number `index` of the output of a plan. */
void mglu_io_plan_describe(const void *plan, size_t index, struct mglu_io_entry *entry);

#endif
