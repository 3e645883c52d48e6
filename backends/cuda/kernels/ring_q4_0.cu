/* SPDX-License-Identifier: MIT */
#include "backends/cuda/kernels/ring.cuh"

MGLU_RING_KERNELS(mglu_ring_q4_0_xf32, MGLU_DTYPE_Q4_0, MGLU_CUDA_X_F32)
MGLU_RING_KERNELS(mglu_ring_q4_0_xhalf, MGLU_DTYPE_Q4_0, MGLU_CUDA_X_HALF)
