/* SPDX-License-Identifier: MIT */
#ifndef MGLU_IO_PACK_DATA_H
#define MGLU_IO_PACK_DATA_H

#include "common/io/pack_plan.h"

/*
 * Makes the data of all tensors of a plan and writes them at their places, in pieces, on the threads of its options.
 * No tensor is in memory as a whole.
 */
mglu_status mglu_io_pack_data(const struct mglu_io_plan *plan);

#endif
