/* SPDX-License-Identifier: MIT */
#ifndef MGLU_IO_MASKS_H
#define MGLU_IO_MASKS_H

#include "common/io/file.h"
#include "common/io/work.h"

/* The masks of one layer in a file, in any of the forms that are read. */
struct mglu_io_masks {
    const mglu_file *file;
    const mglu_file_tensor *tensor; /* as the file has it: for several experts, it may be a stack */
    size_t offset;                  /* bytes in it to the layer's */
    int packed;                     /* they are words already */
    int32_t n_masks;
    int64_t d, h;
};

/* Bytes of a row of all masks, as they are in the file. */
size_t mglu_io_masks_row_bytes(const struct mglu_io_masks *masks);

/*
 * Reads `rows` rows of all masks and packs them as mglu_pack_masks() does. The words are in `room`. Refused, by its
 * place, is what is no mask, and a padding bit that is set.
 */
mglu_status mglu_io_masks_pack(const struct mglu_io_masks *masks, int64_t first, int64_t rows,
                               struct mglu_io_room *room, uint32_t **words);

/* Checks the padding of all words, which are read only where there is any. */
mglu_status mglu_io_masks_check(const struct mglu_io_masks *masks);

#endif
