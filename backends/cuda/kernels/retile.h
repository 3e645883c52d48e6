/* SPDX-License-Identifier: MIT */
#ifndef MGLU_CUDA_RETILE_H
#define MGLU_CUDA_RETILE_H

#include "backends/cuda/kernels/tile_layout.h"

#include <mglu/backend.h>

/* A matrix in the packed format, to be converted to the layout in device memory. */
struct mglu_cuda_matrix {
    mglu_packed_matrix plane[2]; /* [1] for plain layers only, else absent */
    const void *scales[2];       /* quantised: f16 [rows][groups], of each plane. Else NULL */
    const uint32_t *masks;       /* [rows][groups][n_masks]; NULL where n_masks is 0 */
    mglu_dtype dtype;
    uint32_t n_masks;
    int64_t rows, columns;
};

/* Bytes of the matrix in that layout. */
uint64_t mglu_cuda_matrix_bytes(const struct mglu_cuda_matrix *matrix);

/*
 * Writes strips first_strip .. first_strip + strips - 1, one after the other, so that a matrix of any size can be
 * uploaded through a small buffer. `tiles` has room for strips * mglu_tile_blocks(columns) * block bytes.
 */
void mglu_cuda_retile(const struct mglu_cuda_matrix *matrix, uint32_t first_strip, uint32_t strips, void *tiles);

#endif
