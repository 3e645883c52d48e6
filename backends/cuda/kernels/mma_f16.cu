/* SPDX-License-Identifier: MIT */
#include "backends/cuda/kernels/mma.cuh"

MGLU_MMA_KERNELS(mglu_mma8_f16_xf16, MGLU_DTYPE_F16, 1)
MGLU_MMA_KERNEL(mglu_mma8_f16_xf16_m16, MGLU_DTYPE_F16, 1, MGLU_CUDA_MASKS_16)
MGLU_MMA_KERNELS(mglu_mma16_f16_xf16, MGLU_DTYPE_F16, 2)
