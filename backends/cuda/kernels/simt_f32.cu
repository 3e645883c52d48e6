/* SPDX-License-Identifier: MIT */
#include "backends/cuda/kernels/simt.cuh"

MGLU_SIMT_KERNEL(mglu_simt_f32_xf32_sum, MGLU_DTYPE_F32, MGLU_CUDA_X_F32, MGLU_CUDA_SUM)
MGLU_SIMT_KERNELS(mglu_simt_f32_xf32, MGLU_DTYPE_F32, MGLU_CUDA_X_F32)
MGLU_SIMT_KERNELS(mglu_simt_f32_xhalf, MGLU_DTYPE_F32, MGLU_CUDA_X_HALF)
