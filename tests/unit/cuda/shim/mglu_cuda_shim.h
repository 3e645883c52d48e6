/* SPDX-License-Identifier: MIT */
#ifndef MGLU_CUDA_SHIM_H
#define MGLU_CUDA_SHIM_H

/* CUDA's keywords and host versions of the functions of kernels/device.cuh, for kernels that are compiled as C++ for
 * the host. */

#include "copies.hpp"
#include "tensor_core.hpp"
#include "threads.hpp"

#include "common/core/half.h"

#include <algorithm>
#include <cmath>

#define MGLU_DEVICE    static inline
#define MGLU_METHOD    inline
#define MGLU_KERNEL    extern "C"
#define MGLU_PARAMETER const
#define MGLU_UNROLL
#define MGLU_HAS_MIXED_FMA 1
#define __launch_bounds__(...)
#define __maxnreg__(...)

#define threadIdx shim::thread_index
#define blockIdx  shim::block_index
#define blockDim  shim::block_size
#define gridDim   shim::grid_size

struct uint2 {
    uint32_t x, y;
};

struct alignas(16) uint4 {
    uint32_t x, y, z, w;
};

static inline float __uint_as_float(uint32_t bits)
{
    return mglu_f32_from_bits(bits);
}

static inline void __syncthreads()
{
    shim::wait_for_block();
}

static inline void __syncwarp()
{
    shim::wait_for_warp("syncwarp", nullptr, [](void *const *) {});
}

struct shuffle_operand {
    float given, taken;
    int distance;
};

static inline float __shfl_xor_sync(uint32_t lanes, float value, int distance)
{
    shuffle_operand own = {value, 0, distance};

    if (lanes != 0xffffffffu)
        shim::fault("a shuffle without all lanes");
    shim::wait_for_warp("shuffle", &own, [](void *const *operands) {
        for (int lane = 0; lane < shim::WARP; lane++) {
            shuffle_operand *to = static_cast<shuffle_operand *>(operands[lane]);
            to->taken = static_cast<shuffle_operand *>(operands[lane ^ to->distance])->given;
        }
    });
    return own.taken;
}

static inline uint32_t __reduce_min_sync(uint32_t lanes, uint32_t value)
{
    uint32_t least = value;

    if (lanes != 0xffffffffu)
        shim::fault("a reduction without all lanes");
    shim::wait_for_warp("reduce min", &least, [](void *const *operands) {
        uint32_t found = UINT32_MAX;
        for (int lane = 0; lane < shim::WARP; lane++)
            found = std::min(found, *static_cast<uint32_t *>(operands[lane]));
        for (int lane = 0; lane < shim::WARP; lane++)
            *static_cast<uint32_t *>(operands[lane]) = found;
    });
    return least;
}

MGLU_DEVICE float *shared_floats()
{
    return shim::shared;
}

/* The launch before may write everything except weights. */
template <class T> MGLU_DEVICE T *global(uint64_t address)
{
    shim::check_previous_launch_has_ended();
    return reinterpret_cast<T *>(address);
}

MGLU_DEVICE uint4 load_stream16(const void *address)
{
    if (reinterpret_cast<uintptr_t>(address) % 16)
        shim::fault("a load of 16 bytes that is not aligned");
    return *static_cast<const uint4 *>(address);
}

MGLU_DEVICE uint32_t load_stream4(const void *address)
{
    if (reinterpret_cast<uintptr_t>(address) % 4)
        shim::fault("a load of 4 bytes that is not aligned");
    return *static_cast<const uint32_t *>(address);
}

MGLU_DEVICE uint32_t load_stream4_if(bool wanted, const void *address)
{
    return wanted ? load_stream4(address) : 0;
}

/* Reads a byte, so that an address beyond the weights is detected. */
MGLU_DEVICE void prefetch(const void *address)
{
    (void)*static_cast<const volatile char *>(address);
}

MGLU_DEVICE float f16_to_f32(uint16_t half)
{
    return mglu_f16_to_f32(half);
}

MGLU_DEVICE float bf16_to_f32(uint16_t bf16)
{
    return mglu_bf16_to_f32(bf16);
}

MGLU_DEVICE uint16_t f32_to_f16(float f)
{
    return mglu_f32_to_f16(f);
}

MGLU_DEVICE uint16_t f32_to_bf16(float f)
{
    return mglu_f32_to_bf16(f);
}

MGLU_DEVICE float fma_f16(uint16_t a, uint16_t b, float sum)
{
    return std::fma(f16_to_f32(a), f16_to_f32(b), sum);
}

MGLU_DEVICE float fma_bf16(uint16_t a, uint16_t b, float sum)
{
    return std::fma(bf16_to_f32(a), bf16_to_f32(b), sum);
}

/* The fragments of mma.m16n8k16, distributed over the lanes as in the PTX manual. */
struct mma_operand {
    uint32_t a[4], b[2];
    float *sums;
};

/* Element [row][k] of A and [k][column] of B, as bits. */
static inline uint16_t mma_a(void *const *lanes, int row, int k)
{
    const mma_operand *lane = static_cast<const mma_operand *>(lanes[row % 8 * 4 + k % 8 / 2]);
    return static_cast<uint16_t>(lane->a[k / 8 * 2 + row / 8] >> (k % 2 * 16));
}

static inline uint16_t mma_b(void *const *lanes, int k, int column)
{
    const mma_operand *lane = static_cast<const mma_operand *>(lanes[column * 4 + k % 8 / 2]);
    return static_cast<uint16_t>(lane->b[k / 8] >> (k % 2 * 16));
}

template <float (*WIDEN)(uint16_t)> static inline void mma_complete(void *const *lanes)
{
    double a[16][16], b[8][16];

    for (int i = 0; i < 16 * 16; i++)
        a[i / 16][i % 16] = static_cast<double>(WIDEN(mma_a(lanes, i / 16, i % 16)));
    for (int i = 0; i < 8 * 16; i++)
        b[i / 16][i % 16] = static_cast<double>(WIDEN(mma_b(lanes, i % 16, i / 16)));
    for (int row = 0; row < 16; row++) {
        for (int column = 0; column < 8; column++) {
            float &sum = static_cast<mma_operand *>(lanes[row % 8 * 4 + column / 2])->sums[row / 8 * 2 + column % 2];
            sum = shim::tensor_core_sum(a[row], b[column], sum);
        }
    }
}

MGLU_DEVICE void mma_f16(float (&sums)[4], uint4 a, uint2 b)
{
    mma_operand own = {{a.x, a.y, a.z, a.w}, {b.x, b.y}, sums};
    shim::wait_for_warp("mma f16", &own, mma_complete<mglu_f16_to_f32>);
}

MGLU_DEVICE void mma_bf16(float (&sums)[4], uint4 a, uint2 b)
{
    mma_operand own = {{a.x, a.y, a.z, a.w}, {b.x, b.y}, sums};
    shim::wait_for_warp("mma bf16", &own, mma_complete<mglu_bf16_to_f32>);
}

MGLU_DEVICE void init_barrier(uint64_t *barrier)
{
    shim::init_barrier(barrier, 1);
}

MGLU_DEVICE void publish_barriers()
{
    shim::publish_barriers();
}

MGLU_DEVICE void arrive_expecting(uint64_t *barrier, uint32_t bytes)
{
    shim::arrive_expecting(barrier, bytes);
}

MGLU_DEVICE bool has_ended(const uint64_t *barrier, uint32_t parity)
{
    return shim::has_ended(barrier, parity);
}

MGLU_DEVICE void copy_to_shared(void *to, const void *from, uint32_t bytes, uint64_t *barrier)
{
    shim::copy_to_shared(to, from, bytes, barrier);
}

MGLU_DEVICE void wait_for_previous_launch()
{
    shim::previous_launch_has_ended();
}

MGLU_DEVICE void let_next_launch_begin()
{
}

#endif
