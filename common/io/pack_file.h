/* SPDX-License-Identifier: MIT */
#ifndef MGLU_IO_PACK_FILE_H
#define MGLU_IO_PACK_FILE_H

#include "common/io/pack_data.h"

/* Reads and checks options; `given` may be NULL. */
mglu_status mglu_io_pack_options(const char *function, const mglu_file_pack_options *given,
                                 mglu_file_pack_options *options);

/* Writes a file with the tensors of `plan`: those of the packing's plan, or some of them. */
mglu_status mglu_io_pack_write_file(struct mglu_io_packing *packing, const struct mglu_io_plan *plan,
                                    struct mglu_io_output *output);

#endif
