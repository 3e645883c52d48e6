/* SPDX-License-Identifier: MIT */
#ifndef MGLU_IO_PACK_FILE_H
#define MGLU_IO_PACK_FILE_H

#include "common/io/pack_data.h"

/* Reads and checks options; `given` may be NULL. */
mglu_status mglu_io_pack_options(const char *function, const mglu_file_pack_options *given,
                                 mglu_file_pack_options *options);

/* Writes all before the data of a file with the tensors in the order of a plan, and sets their places. */
mglu_status mglu_io_pack_front(const struct mglu_io_plan *plan, uint16_t file);

#endif
