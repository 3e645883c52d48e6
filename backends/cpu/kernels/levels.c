/* SPDX-License-Identifier: MIT */
#include "backends/cpu/cpu.h"

/* Built without any flags of an instruction set: this code runs before it is known what the machine has. */

static int always(void)
{
    return 1;
}

#ifdef MGLU_CPU_X86

#include <cpuid.h>

/* __builtin_cpu_supports knows the system's support too, but Clang's does not know f16c before version 19. */
static int has_f16c(void)
{
    unsigned int a, b, c, d;

    return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C);
}

static int has_avx2(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c();
}

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

#endif

#ifdef MGLU_CPU_AARCH64

#ifdef __linux__
#include <asm/hwcap.h>
#include <sys/auxv.h>

static int has_dotprod(void)
{
    return (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0;
}

#else

/* Elsewhere nothing says so. */
static int has_dotprod(void)
{
    return 0;
}

#endif

#endif

const struct mglu_cpu_level mglu_cpu_levels[] = {
    {"baseline", always, &mglu_kernels_baseline, NULL, NULL, NULL, NULL},
#ifdef MGLU_CPU_X86
    {"avx2", has_avx2, &mglu_kernels_avx2, &mglu_int8_avx2, mglu_trees_avx2, NULL, NULL},
    {"avx512", has_avx512, &mglu_kernels_avx512, &mglu_int8_avx2, NULL, NULL, NULL},
    {"avx512-vnni", has_avx512vnni, &mglu_kernels_avx512, &mglu_int8_avx512vnni, NULL, NULL, NULL},
    {"avx512-bf16", has_avx512bf16, &mglu_kernels_avx512, &mglu_int8_avx512vnni, NULL, mglu_sums_bf16_avx512bf16,
     mglu_tiles_bf16_avx512bf16},
#endif
#ifdef MGLU_CPU_AARCH64
    {"neon", always, &mglu_kernels_neon, &mglu_int8_neon, NULL, NULL, NULL},
    {"neon-dotprod", has_dotprod, &mglu_kernels_neon, &mglu_int8_neondot, NULL, NULL, NULL},
#endif
    {NULL, NULL, NULL, NULL, NULL, NULL, NULL},
};
