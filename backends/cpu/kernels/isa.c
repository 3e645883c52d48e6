/* SPDX-License-Identifier: MIT */
#include "backends/cpu/cpu.h"

/* Compiled without instruction set flags: this code determines what the machine supports. */

static int always(void)
{
    return 1;
}

#ifdef MGLU_CPU_X86

#include <cpuid.h>
#include <stdatomic.h>

/* __builtin_cpu_supports also checks the operating system; Clang's has no f16c before version 19. */
static int read_f16c(void)
{
    unsigned int a, b, c, d;

    return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C);
}

/* In a virtual machine the instruction CPUID takes tens of microseconds, and each context asks several times. */
static int read_once(atomic_int *known, int (*read)(void))
{
    int answer = atomic_load_explicit(known, memory_order_relaxed);

    if (answer < 0) {
        answer = read();
        atomic_store_explicit(known, answer, memory_order_relaxed);
    }
    return answer;
}

static int has_f16c(void)
{
    static atomic_int known = -1;

    return read_once(&known, read_f16c);
}

static int has_avx2(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c();
}

#ifdef MGLU_CPU_AVXVNNI

/* Not by __builtin_cpu_supports, which has a name for it in newer compilers alone. */
static int read_avxvnni(void)
{
    unsigned int a, b, c, d;

    return __get_cpuid_count(7, 0, &a, &b, &c, &d) && a >= 1 && __get_cpuid_count(7, 1, &a, &b, &c, &d) &&
           (a & 1u << 4) != 0;
}

static int has_avxvnni(void)
{
    static atomic_int known = -1;

    return has_avx2() && read_once(&known, read_avxvnni);
}

#endif

static int has_avx512(void)
{
    return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
}

static int has_avx512vnni(void)
{
    return has_avx512() && __builtin_cpu_supports("avx512vnni");
}

static int has_avx512bf16(void)
{
    return has_avx512vnni() && __builtin_cpu_supports("avx512bf16");
}

#ifdef MGLU_CPU_AMX

static int has_avx512amx(void)
{
    return has_avx512bf16() && mglu_cpu_has_tiles();
}

#endif

#endif

#ifdef MGLU_CPU_AARCH64

#ifdef __linux__
#include <asm/hwcap.h>
#include <sys/auxv.h>
#include <sys/prctl.h>

/* Linux before 5.10 has no names for them. */
#ifndef HWCAP2_I8MM
#define HWCAP2_I8MM    (1 << 13)
#define HWCAP2_SVEBF16 (1 << 12)
#endif

static int has_dotprod(void)
{
    return (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0;
}

static int has_i8mm(void)
{
    return has_dotprod() && (getauxval(AT_HWCAP2) & HWCAP2_I8MM) != 0;
}

#ifdef MGLU_CPU_SVE

/* Vectors of this many bytes: all threads of a process have the length that the system gave it. */
static int has_sve(int length)
{
    if (!has_i8mm() || !(getauxval(AT_HWCAP) & HWCAP_SVE) || !(getauxval(AT_HWCAP2) & HWCAP2_SVEBF16))
        return 0;
    const int vectors = prctl(PR_SVE_GET_VL);
    return vectors >= 0 && (vectors & PR_SVE_VL_LEN_MASK) == length;
}

#endif

#else

/* Other systems have no such query. */
static int has_dotprod(void)
{
    return 0;
}

static int has_i8mm(void)
{
    return 0;
}

#ifdef MGLU_CPU_SVE

static int has_sve(int length)
{
    return 0;
}

#endif

#endif

#ifdef MGLU_CPU_SVE

static int has_sve128(void)
{
    return has_sve(16);
}

static int has_sve256(void)
{
    return has_sve(32);
}

#endif

#endif

/* The kernels compiled for the instruction set of this name. */
#define KERNELS(isa) .gemv = mglu_gemv_##isa, KERNELS_BUT_GEMV(isa)
#define KERNELS_BUT_GEMV(isa)                                                                                          \
    .gemm = &mglu_gemm_##isa, .elementwise = &mglu_elementwise_##isa, .train_blocks = &mglu_train_blocks_##isa,        \
    .train_gates = &mglu_train_gates_##isa, .train_f32 = &mglu_train_f32_##isa

#define KERNELS_AVX2 KERNELS(avx2), .gemv_pairs = mglu_gemv_pairs_avx2, .gemv_fused = &mglu_gemv_panels_avx2
#define KERNELS_AVX512                                                                                                 \
    KERNELS(avx512), .gemv_lookup = mglu_gemv_lookup_avx512, .gemv_tokens = &mglu_gemv_tokens_avx512,                  \
                     .gemv_fused = &mglu_gemv_fused_avx512

const struct mglu_cpu_isa mglu_cpu_isas[] = {
    {"baseline", always, KERNELS(baseline)},
#ifdef MGLU_CPU_X86
    {"avx2", has_avx2, KERNELS_AVX2, .int8 = &mglu_int8_avx2, .gemm_int8 = &mglu_gemm_int8_avx2},
#ifdef MGLU_CPU_AVXVNNI
    {"avx2-vnni", has_avxvnni, KERNELS_AVX2, .int8 = &mglu_int8_avxvnni, .gemm_int8 = &mglu_gemm_int8_avxvnni},
#endif
    {"avx512", has_avx512, KERNELS_AVX512, .int8 = &mglu_int8_avx2, .gemm_int8 = &mglu_gemm_int8_avx2_for_avx512,
     .f32_after_int8 = 11},
    {"avx512-vnni", has_avx512vnni, KERNELS_AVX512, .int8 = &mglu_int8_avx512vnni,
     .gemm_int8 = &mglu_gemm_int8_avx512vnni, .gemm_int8_packed = &mglu_gemm_int8_tokens_avx512vnni},
    {"avx512-bf16", has_avx512bf16, KERNELS_AVX512, .int8 = &mglu_int8_avx512vnni,
     .gemm_int8 = &mglu_gemm_int8_avx512vnni, .gemm_int8_packed = &mglu_gemm_int8_tokens_avx512vnni,
     .gemv_bf16 = mglu_gemv_bf16_avx512bf16, .gemm_bf16 = mglu_gemm_bf16_avx512bf16,
     .train_bf16 = &mglu_train_bf16_avx512bf16},
#endif
#ifdef MGLU_CPU_AMX
    {"avx512-amx", has_avx512amx, KERNELS_AVX512, .int8 = &mglu_int8_avx512vnni,
     .gemm_int8 = &mglu_gemm_int8_avx512vnni, .gemm_int8_packed = &mglu_gemm_int8_tokens_avx512vnni,
     .gemv_bf16 = mglu_gemv_bf16_avx512bf16, .gemm_bf16 = mglu_gemm_bf16_avx512bf16,
     .gemm_tiles = &mglu_gemm_tiles_avx512amx, .gemm_split = &mglu_gemm_split_tiles_avx512amx,
     .train_bf16 = &mglu_train_bf16_avx512bf16, .train_tiles = &mglu_train_bf16_avx512amx},
#endif
#ifdef MGLU_CPU_AARCH64
    {"neon", always, KERNELS(neon), .int8 = &mglu_int8_neon},
    {"neon-dotprod", has_dotprod, KERNELS(neon), .int8 = &mglu_int8_neondot, .gemm_int8 = &mglu_gemm_int8_neondot},
    {"neon-i8mm", has_i8mm, KERNELS(neon), .int8 = &mglu_int8_neondot, .gemm_int8 = &mglu_gemm_int8_neoni8mm},
#endif
#ifdef MGLU_CPU_SVE
    {"sve-128", has_sve128, .gemv = mglu_gemv_sve128, KERNELS_BUT_GEMV(neon), .int8 = &mglu_int8_sve128,
     .gemm_int8 = &mglu_gemm_int8_neoni8mm, .gemv_bf16 = mglu_gemv_bf16_sve128},
    {"sve-256", has_sve256, .gemv = mglu_gemv_sve256, KERNELS_BUT_GEMV(neon), .int8 = &mglu_int8_sve256,
     .gemm_int8 = &mglu_gemm_int8_neoni8mm, .gemv_bf16 = mglu_gemv_bf16_sve256},
#endif
    {0},
};

_Static_assert(sizeof mglu_cpu_isas / sizeof mglu_cpu_isas[0] <= MGLU_CPU_MAX_ISAS + 1,
               "a device's list has room for each instruction set");
