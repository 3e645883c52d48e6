/* SPDX-License-Identifier: MIT */
#include "backends/cuda/kernels/mma.cuh"

MGLU_MMA_KERNELS(mglu_mma8_f16_xf16, MGLU_DTYPE_F16, 1)
MGLU_MMA_KERNELS(mglu_mma16_f16_xf16, MGLU_DTYPE_F16, 2)
