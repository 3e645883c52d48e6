/* SPDX-License-Identifier: MIT */
#include "backends/cuda/kernels/mma.cuh"

MGLU_MMA_KERNELS(mglu_mma8_bf16_xbf16, MGLU_DTYPE_BF16, 1)
MGLU_MMA_KERNEL(mglu_mma8_bf16_xbf16_m16, MGLU_DTYPE_BF16, 1, MGLU_CUDA_MASKS_16)
MGLU_MMA_KERNELS(mglu_mma16_bf16_xbf16, MGLU_DTYPE_BF16, 2)
