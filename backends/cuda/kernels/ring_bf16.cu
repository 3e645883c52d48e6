/* SPDX-License-Identifier: MIT */
#include "backends/cuda/kernels/ring.cuh"

MGLU_RING_KERNELS(mglu_ring_bf16_xf32, MGLU_DTYPE_BF16, MGLU_CUDA_X_F32)
MGLU_RING_KERNELS(mglu_ring_bf16_xhalf, MGLU_DTYPE_BF16, MGLU_CUDA_X_HALF)
MGLU_RING_KERNELS(mglu_ring_bf16_xbf16, MGLU_DTYPE_BF16, MGLU_CUDA_X_SAME)
