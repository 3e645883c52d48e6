/* SPDX-License-Identifier: MIT */
#ifndef MGLU_IO_GGUF_TYPES_H
#define MGLU_IO_GGUF_TYPES_H

#include <mglu/types.h>

/* The tensor types of ggml, by their number in files. */

enum {
    MGLU_IO_GGML_F32 = 0,
    MGLU_IO_GGML_F16 = 1,
    MGLU_IO_GGML_Q4_0 = 2,
    MGLU_IO_GGML_Q8_0 = 8,
    MGLU_IO_GGML_I8 = 24,
    MGLU_IO_GGML_BF16 = 30
};

struct mglu_io_ggml_type {
    const char *name;
    unsigned elements, bytes; /* of a block */
};

/* NULL for a number that has no type. */
const struct mglu_io_ggml_type *mglu_io_ggml_type(uint32_t type);

/* The library's dtype with exactly the same values. Returns 0 when there is none. */
int mglu_io_ggml_dtype(uint32_t type, mglu_dtype *dtype);

/* The reverse. */
uint32_t mglu_io_ggml_type_of(mglu_dtype dtype);

#endif
