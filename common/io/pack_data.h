/* SPDX-License-Identifier: MIT */
#ifndef MGLU_IO_PACK_DATA_H
#define MGLU_IO_PACK_DATA_H

#include "common/io/pack_plan.h"

/* The writing of a plan, to one file or to several. */
struct mglu_io_packing {
    const struct mglu_io_plan *plan;
    struct mglu_io_output *output;  /* the file that is written now */
    uint64_t done, reported, total; /* bytes of all tensors */
    void *buffer;                   /* the tensor that is packed; freed by mglu_io_packing_clear() */
    size_t room;
};

/* A tensor of the output in the making. */
struct mglu_io_pack_job {
    struct mglu_io_packing *packing;
    const struct mglu_io_plan *plan;
    const struct mglu_io_planned *planned;
    const mglu_file_tensor *source; /* with its data, where it is not only copied */
};

void mglu_io_packing_clear(struct mglu_io_packing *packing);

/* Writes a piece of a tensor and reports how far the packing is. */
mglu_status mglu_io_pack_write(const struct mglu_io_pack_job *job, const void *bytes, size_t count);

/* Rows of so many bytes that are made at once: about a megabyte. */
int64_t mglu_io_pack_rows_at_once(size_t row_bytes);

/*
 * Checks, makes and writes the data of tensor number `index` of a plan: that of the packing, or one with a part of its
 * tensors. Where they are not only copied they are read as a whole, one at a time.
 */
mglu_status mglu_io_pack_data(struct mglu_io_packing *packing, const struct mglu_io_plan *plan, size_t index);

/* The same for the words of masks. Their layer has been checked. */
mglu_status mglu_io_pack_masks(const struct mglu_io_pack_job *job);

#endif
