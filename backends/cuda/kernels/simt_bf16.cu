/* SPDX-License-Identifier: MIT */
#include "backends/cuda/kernels/simt.cuh"

MGLU_SIMT_KERNEL(mglu_simt_bf16_xf32_sum, MGLU_DTYPE_BF16, false, MGLU_CUDA_SUM)
MGLU_SIMT_KERNELS(mglu_simt_bf16_xf32, MGLU_DTYPE_BF16, false)
MGLU_SIMT_KERNELS(mglu_simt_bf16_xbf16, MGLU_DTYPE_BF16, true)
