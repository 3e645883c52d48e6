/* SPDX-License-Identifier: MIT */
#include "backends/cuda/kernels/ring.cuh"

MGLU_RING_KERNELS(mglu_ring_f32_xf32, MGLU_DTYPE_F32, MGLU_CUDA_X_F32)
MGLU_RING_KERNELS(mglu_ring_f32_xhalf, MGLU_DTYPE_F32, MGLU_CUDA_X_HALF)
