/* SPDX-License-Identifier: MIT */
#ifndef MGLU_CORE_GGML_BLOCK_H
#define MGLU_CORE_GGML_BLOCK_H

#include "common/core/quantise.h"

/*
 * A block of ggml is a group of 32 columns in one place: its f16 scale, then the quants, both in the same bytes as
 * here, where scales and quants are two arrays.
 */

enum { MGLU_GGML_SCALE_BYTES = 2 };

/* Bytes of the quants of a block of a quantised dtype. */
static inline size_t mglu_ggml_quant_bytes(mglu_dtype dtype)
{
    return mglu_row_bytes(dtype, MGLU_GROUP_COLUMNS);
}

static inline size_t mglu_ggml_block_bytes(mglu_dtype dtype)
{
    return MGLU_GGML_SCALE_BYTES + mglu_ggml_quant_bytes(dtype);
}

static inline void mglu_ggml_split(mglu_dtype dtype, const unsigned char *blocks, size_t count, unsigned char *quants,
                                   unsigned char *scales)
{
    size_t bytes = mglu_ggml_quant_bytes(dtype);

    for (size_t i = 0; i < count; i++, blocks += MGLU_GGML_SCALE_BYTES + bytes) {
        memcpy(scales + i * MGLU_GGML_SCALE_BYTES, blocks, MGLU_GGML_SCALE_BYTES);
        memcpy(quants + i * bytes, blocks + MGLU_GGML_SCALE_BYTES, bytes);
    }
}

/* The reverse. */
static inline void mglu_ggml_join(mglu_dtype dtype, const unsigned char *quants, const unsigned char *scales,
                                  size_t count, unsigned char *blocks)
{
    size_t bytes = mglu_ggml_quant_bytes(dtype);

    for (size_t i = 0; i < count; i++, blocks += MGLU_GGML_SCALE_BYTES + bytes) {
        memcpy(blocks, scales + i * MGLU_GGML_SCALE_BYTES, MGLU_GGML_SCALE_BYTES);
        memcpy(blocks + MGLU_GGML_SCALE_BYTES, quants + i * bytes, bytes);
    }
}

#endif
