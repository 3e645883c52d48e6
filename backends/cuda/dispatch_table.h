/* SPDX-License-Identifier: MIT */
#ifndef MGLU_CUDA_DISPATCH_TABLE_H
#define MGLU_CUDA_DISPATCH_TABLE_H

/*
 * The fastest kernels for each architecture and form; bench/cuda/tune.py measures and writes such rows. A device uses
 * the rows of the latest architecture that is not later than its own, else the first ones.
 *
 * Rows without a date of measurement are predictions from instruction counts and memory bandwidth.
 */

#include "backends/cuda/kernels/params.h"

struct mglu_cuda_dispatch_row {
    int32_t architecture;
    enum mglu_cuda_form form;
    int64_t mma8_from, mma16_from; /* smallest batch that these engines compute; 0: never */
    uint32_t simt_warps;           /* at least; see mglu_cuda_warps() */
};

static const struct mglu_cuda_dispatch_row mglu_cuda_dispatch_rows[] = {
    /* H100 and H200: one token on tensor cores where the masked additions would be the bottleneck. */
    {90, MGLU_CUDA_SUM, 0, 0, 4},
    {90, MGLU_CUDA_GLU, 2, 9, 4},
    {90, MGLU_CUDA_MASKS_1, 2, 9, 4},
    {90, MGLU_CUDA_MASKS_2, 2, 9, 4},
    {90, MGLU_CUDA_MASKS_4, 1, 9, 4},
    {90, MGLU_CUDA_MASKS_8, 1, 9, 4},
    {90, MGLU_CUDA_MASKS_16, 1, 0, 4},
    /* RTX 5090: one token is limited by memory bandwidth at any number of masks. */
    {120, MGLU_CUDA_SUM, 0, 0, 4},
    {120, MGLU_CUDA_GLU, 2, 9, 4},
    {120, MGLU_CUDA_MASKS_1, 2, 9, 4},
    {120, MGLU_CUDA_MASKS_2, 2, 9, 4},
    {120, MGLU_CUDA_MASKS_4, 2, 9, 4},
    {120, MGLU_CUDA_MASKS_8, 2, 9, 4},
    {120, MGLU_CUDA_MASKS_16, 2, 0, 4},
};

#endif
