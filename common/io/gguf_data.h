/* SPDX-License-Identifier: MIT */
#ifndef MGLU_IO_GGUF_DATA_H
#define MGLU_IO_GGUF_DATA_H

#include "common/io/gguf_plan.h"

/* Data begin at multiples of this in a GGUF file that is written. */
enum { MGLU_IO_GGUF_ALIGNMENT = 64 };

static inline uint64_t mglu_io_gguf_aligned(uint64_t bytes)
{
    return (bytes + MGLU_IO_GGUF_ALIGNMENT - 1) / MGLU_IO_GGUF_ALIGNMENT * MGLU_IO_GGUF_ALIGNMENT;
}

/* Writes the data of all items behind the header, in pieces: no tensor is in memory as a whole. */
mglu_status mglu_io_gguf_write_data(const struct mglu_io_gguf_plan *plan);

#endif
