/* SPDX-License-Identifier: MIT */
#ifndef MGLU_IO_PACK_DATA_H
#define MGLU_IO_PACK_DATA_H

#include "common/io/pack_plan.h"

/* A tensor of the output in the making. */
struct mglu_io_pack_job {
    const struct mglu_io_plan *plan;
    const struct mglu_io_planned *planned;
    const mglu_file_tensor *source;
    struct mglu_io_output *output;
};

/* Rows of so many bytes that are made at once: about a megabyte. */
int64_t mglu_io_pack_rows_at_once(size_t row_bytes);

/* Checks, makes and writes the data of tensor number `index` of the output, in pieces of about a megabyte. */
mglu_status mglu_io_pack_data(const struct mglu_io_plan *plan, size_t index, struct mglu_io_output *output);

/* The same for the words of masks. Their layer has been checked. */
mglu_status mglu_io_pack_masks(const struct mglu_io_pack_job *job);

#endif
