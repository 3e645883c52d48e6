/* SPDX-License-Identifier: MIT */
#include "backends/cpu/cpu.h"

/*
 * What is fastest on a processor, beyond its instruction set. Each row was measured on the machines that it names: see
 * docs/tried.md. Compiled without instruction set flags.
 */

#ifdef MGLU_CPU_X86

static int is_zen3_or_4(void)
{
    return __builtin_cpu_is("amdfam19h");
}

/* Compilers of today have no name for Zen 5; of AMD's processors only it and Zen 4 have AVX-512. */
static int is_zen5(void)
{
    return __builtin_cpu_is("amd") && __builtin_cpu_supports("avx512f");
}

static int is_other_amd(void)
{
    return __builtin_cpu_is("amd");
}

static int is_any(void)
{
    return 1;
}

/* The first row that fits is used. The last is an Intel Xeon, Sapphire Rapids. */
static const struct {
    int (*is_this)(void);
    struct mglu_cpu_machine machine;
} machines[] = {
    {is_zen3_or_4,
     {.streams = {.plain_rows = 4, .plain_prefetch = 512, .masked_rows = 1, .masked_prefetch = 8192},
      .bf16_dot_is_fast = 1}},
    {is_zen5, {.streams = {.plain_rows = 1, .masked_rows = 1, .masked_prefetch = 8192}, .bf16_dot_is_fast = 1}},
    {is_other_amd, {.streams = {.plain_rows = 4, .plain_prefetch = 512, .masked_rows = 1, .masked_prefetch = 8192}}},
    {is_any, {.streams = {.plain_rows = 2, .plain_prefetch = 2048, .masked_rows = 2, .masked_prefetch = 2048}}},
};

const struct mglu_cpu_machine *mglu_cpu_this_machine(void)
{
    size_t i = 0;

    while (!machines[i].is_this())
        i++;
    return &machines[i].machine;
}

#else

/* Not measured. Arm's guides to Neoverse V1, N2 and V2 have as many BFDOT in a cycle as multiply-adds of f32. */
const struct mglu_cpu_machine *mglu_cpu_this_machine(void)
{
    static const struct mglu_cpu_machine machine = {
        .streams = {.plain_rows = 1, .masked_rows = 1, .masked_prefetch = 8192}, .bf16_dot_is_fast = 1};

    return &machine;
}

#endif
