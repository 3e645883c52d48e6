/* SPDX-License-Identifier: MIT */
#ifndef MGLU_IO_PACK_DATA_H
#define MGLU_IO_PACK_DATA_H

#include "common/io/pack_plan.h"

/* Checks, makes and writes the data of tensor number `index` of the output, in pieces of about a megabyte. */
mglu_status mglu_io_pack_data(const struct mglu_io_plan *plan, size_t index, struct mglu_io_output *output);

#endif
