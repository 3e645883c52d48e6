/* SPDX-License-Identifier: MIT */
#ifndef MGLU_CUDA_ELEMENTS_CUH
#define MGLU_CUDA_ELEMENTS_CUH

/* Elements of x, y and residuals in memory: f32, f16 or bf16, known at run time, aligned to their own size. */

#include "backends/cuda/kernels/device.cuh"

#include <mglu/types.h>

MGLU_DEVICE uint32_t element_bytes(int32_t dtype)
{
    return dtype == MGLU_DTYPE_F32 ? 4 : 2;
}

MGLU_DEVICE uint64_t element_address(uint64_t base, int64_t index, int32_t dtype)
{
    return base + (uint64_t)index * element_bytes(dtype);
}

MGLU_DEVICE float half_to_f32(uint16_t bits, bool is_f16)
{
    return is_f16 ? f16_to_f32(bits) : bf16_to_f32(bits);
}

MGLU_DEVICE float load_element(uint64_t address, int32_t dtype)
{
    if (dtype == MGLU_DTYPE_F32)
        return *global<const float>(address);
    return half_to_f32(*global<const uint16_t>(address), dtype == MGLU_DTYPE_F16);
}

MGLU_DEVICE void store_element(uint64_t address, int32_t dtype, float value)
{
    if (dtype == MGLU_DTYPE_F32)
        *global<float>(address) = value;
    else
        *global<uint16_t>(address) = dtype == MGLU_DTYPE_F16 ? f32_to_f16(value) : f32_to_bf16(value);
}

MGLU_DEVICE uint16_t half_of(uint32_t pair, int index)
{
    return (uint16_t)(pair >> (16 * index));
}

/* Component of a vector; unrolled loops make the index a constant. */
MGLU_DEVICE uint32_t word_of(const uint4 &v, int index)
{
    return index == 0 ? v.x : index == 1 ? v.y : index == 2 ? v.z : v.w;
}

#endif
