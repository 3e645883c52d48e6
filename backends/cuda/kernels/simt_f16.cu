/* SPDX-License-Identifier: MIT */
#include "backends/cuda/kernels/simt.cuh"

MGLU_SIMT_KERNEL(mglu_simt_f16_xf32_sum, MGLU_DTYPE_F16, false, MGLU_CUDA_SUM)
MGLU_SIMT_KERNELS(mglu_simt_f16_xf32, MGLU_DTYPE_F16, false)
MGLU_SIMT_KERNELS(mglu_simt_f16_xf16, MGLU_DTYPE_F16, true)
