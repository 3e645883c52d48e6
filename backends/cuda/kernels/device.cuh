/* SPDX-License-Identifier: MIT */
#ifndef MGLU_CUDA_DEVICE_CUH
#define MGLU_CUDA_DEVICE_CUH

/*
 * Every instruction that standard C++ cannot express. Of the device, kernels use only what is declared here, indices,
 * barriers and shuffles, so that tests can run them on the host, where <mglu_cuda_shim.h> has a counterpart of each
 * function.
 */

#include <stdint.h>

#if !defined(__CUDACC__)
#include <mglu_cuda_shim.h>
#else

#define MGLU_DEVICE    static __device__ __forceinline__
#define MGLU_METHOD    __device__ __forceinline__ /* member functions */
#define MGLU_KERNEL    extern "C" __global__
#define MGLU_PARAMETER const __grid_constant__
#define MGLU_UNROLL    _Pragma("unroll")

/* Dynamic shared memory of the launch. */
MGLU_DEVICE float *shared_floats()
{
    extern __shared__ __align__(16) float mglu_shared[];
    return mglu_shared;
}

/* A pointer that the compiler knows to point to global memory. */
template <class T> MGLU_DEVICE T *global(uint64_t address)
{
    return (T *)__cvta_global_to_generic((size_t)address);
}

/*
 * Weights and masks are read once per group of tokens: the loads bypass L1 and prefetch into L2. They are not .nc
 * loads, although the memory is read-only, because ptxas moves .nc loads past barriers to where their value is used:
 * then few of a block's loads are in flight at a time.
 */
MGLU_DEVICE uint4 load_stream16(const void *address)
{
    uint4 v;
    asm("ld.global.L1::no_allocate.L2::256B.v4.u32 {%0, %1, %2, %3}, [%4];"
        : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
        : "l"(address));
    return v;
}

MGLU_DEVICE uint32_t load_stream4(const void *address)
{
    uint32_t v;
    asm("ld.global.L1::no_allocate.L2::256B.u32 %0, [%1];" : "=r"(v) : "l"(address));
    return v;
}

/* 0 where the load is disabled: as one predicated instruction, not as a branch. */
MGLU_DEVICE uint32_t load_stream4_if(bool wanted, const void *address)
{
    uint32_t v = 0;
    asm("{ .reg .pred wanted; setp.ne.u32 wanted, %2, 0;\n\t"
        "@wanted ld.global.L1::no_allocate.L2::256B.u32 %0, [%1]; }"
        : "+r"(v)
        : "l"(address), "r"((uint32_t)wanted));
    return v;
}

MGLU_DEVICE void prefetch(const void *address)
{
    asm volatile("prefetch.global.L2 [%0];" : : "l"(address));
}

MGLU_DEVICE float f16_to_f32(uint16_t half)
{
    float f;
    asm("cvt.f32.f16 %0, %1;" : "=f"(f) : "h"(half));
    return f;
}

MGLU_DEVICE float bf16_to_f32(uint16_t bf16)
{
    return __uint_as_float((uint32_t)bf16 << 16);
}

MGLU_DEVICE uint16_t f32_to_f16(float f)
{
    uint16_t half;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(half) : "f"(f));
    return half;
}

MGLU_DEVICE uint16_t f32_to_bf16(float f)
{
    uint16_t bf16;
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(bf16) : "f"(f));
    return bf16;
}

/* a * b + sum in f32 in one instruction, rounded once. Else both are widened first, for the same bits. */
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 1000
#define MGLU_HAS_MIXED_FMA 1

MGLU_DEVICE float fma_f16(uint16_t a, uint16_t b, float sum)
{
    asm("fma.rn.f32.f16 %0, %1, %2, %0;" : "+f"(sum) : "h"(a), "h"(b));
    return sum;
}

MGLU_DEVICE float fma_bf16(uint16_t a, uint16_t b, float sum)
{
    asm("fma.rn.f32.bf16 %0, %1, %2, %0;" : "+f"(sum) : "h"(a), "h"(b));
    return sum;
}
#endif

/* sums += A B for a 16x16 tile A and a 16x8 tile B, both distributed over the warp. */
MGLU_DEVICE void mma_f16(float (&sums)[4], uint4 a, uint2 b)
{
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
        : "r"(a.x), "r"(a.y), "r"(a.z), "r"(a.w), "r"(b.x), "r"(b.y));
}

MGLU_DEVICE void mma_bf16(float (&sums)[4], uint4 a, uint2 b)
{
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
        : "r"(a.x), "r"(a.y), "r"(a.z), "r"(a.w), "r"(b.x), "r"(b.y));
}

/*
 * Barriers in shared memory that copies arrive at. A phase of such a barrier ends when one thread has arrived and as
 * many bytes have come as it announced; phases are told apart by their parity, 0 first. sm_90 and later.
 */
MGLU_DEVICE uint32_t shared_address(const void *shared)
{
    return (uint32_t)__cvta_generic_to_shared(shared);
}

/* For one arrival a phase. Others may use the barrier after publish_barriers() and a barrier of their threads. */
MGLU_DEVICE void init_barrier(uint64_t *barrier)
{
    asm volatile("mbarrier.init.shared::cta.b64 [%0], 1;" : : "r"(shared_address(barrier)) : "memory");
}

/* Shows the barriers that this thread has made to other threads and to copies. */
MGLU_DEVICE void publish_barriers()
{
    asm volatile("fence.mbarrier_init.release.cluster;\n\tfence.proxy.async.shared::cta;" : : : "memory");
}

MGLU_DEVICE void arrive_expecting(uint64_t *barrier, uint32_t bytes)
{
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;"
                 :
                 : "r"(shared_address(barrier)), "r"(bytes)
                 : "memory");
}

/* Whether the phase of this parity has ended. May wait for it for a while. */
MGLU_DEVICE bool has_ended(const uint64_t *barrier, uint32_t parity)
{
    uint32_t ended;
    asm volatile("{\n\t.reg .pred p;\n\tmbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;\n\t"
                 "selp.u32 %0, 1, 0, p;\n\t}"
                 : "=r"(ended)
                 : "r"(shared_address(barrier)), "r"(parity)
                 : "memory");
    return ended;
}

/* Copies from device memory to shared memory; the bytes arrive at the barrier. All is in multiples of 16 bytes. */
MGLU_DEVICE void copy_to_shared(void *to, const void *from, uint32_t bytes, uint64_t *barrier)
{
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];"
                 :
                 : "r"(shared_address(to)), "l"(from), "r"(bytes), "r"(shared_address(barrier))
                 : "memory");
}

/* Returns once the launch before this one has ended and its writes can be seen. */
MGLU_DEVICE void wait_for_previous_launch()
{
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;" : : : "memory");
#endif
}

/* Lets the next launch begin; it runs up to its own wait. */
MGLU_DEVICE void let_next_launch_begin()
{
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;");
#endif
}

#endif
#endif
