/* SPDX-License-Identifier: MIT */
#include "backends/cuda/kernels/ring.cuh"

MGLU_RING_KERNELS(mglu_ring_f16_xf32, MGLU_DTYPE_F16, MGLU_CUDA_X_F32)
MGLU_RING_KERNELS(mglu_ring_f16_xhalf, MGLU_DTYPE_F16, MGLU_CUDA_X_HALF)
MGLU_RING_KERNELS(mglu_ring_f16_xf16, MGLU_DTYPE_F16, MGLU_CUDA_X_SAME)
