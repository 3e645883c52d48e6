/* SPDX-License-Identifier: MIT */
#ifndef MGLU_TEST_CPU_ISAS_H
#define MGLU_TEST_CPU_ISAS_H

#include "tests/unit/check.h"

#include "backends/cpu/cpu.h"
#include "common/core/half.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*
 * Runs tests once for every instruction set that was built; those that this machine lacks are reported as skipped. With
 * MGLU_TEST_ISA in the environment, only for that one.
 */

enum { MAX_RUNS = 128 };

static inline const struct mglu_cpu_isa *isa_of(void **state)
{
    const struct mglu_cpu_isa *isa = *state;

    if (!isa->is_available())
        skip();
    return isa;
}

/* Whether an earlier instruction set has the same kernels in the member at this offset, so that they are tested. */
static inline int is_reused(const struct mglu_cpu_isa *isa, size_t offset)
{
    for (const struct mglu_cpu_isa *earlier = mglu_cpu_isas; earlier < isa; earlier++)
        if (memcmp((const char *)earlier + offset, (const char *)isa + offset, sizeof(void *)) == 0)
            return 1;
    return 0;
}

/* For a test of the kernels in one member, which is skipped where they are an earlier set's. */
#define ISA_WITH_OWN(state, member) isa_with_own(state, offsetof(struct mglu_cpu_isa, member))

static inline const struct mglu_cpu_isa *isa_with_own(void **state, size_t offset)
{
    const struct mglu_cpu_isa *isa = isa_of(state);

    if (is_reused(isa, offset))
        skip();
    return isa;
}

static inline int run_on_isas(const struct CMUnitTest *tests, size_t count)
{
    static struct CMUnitTest runs[MAX_RUNS];
    static char names[MAX_RUNS][96];
    const char *only = getenv("MGLU_TEST_ISA");
    size_t total = 0;

    for (const struct mglu_cpu_isa *isa = mglu_cpu_isas; isa->name; isa++) {
        if (only && strcmp(isa->name, only) != 0)
            continue;
        printf("%s: %s\n", isa->name, isa->is_available() ? "tested" : "not on this machine, skipped");
        for (size_t i = 0; i < count && total < MAX_RUNS; i++, total++) {
            snprintf(names[total], sizeof names[total], "%s (%s)", tests[i].name, isa->name);
            runs[total] = tests[i];
            runs[total].name = names[total];
            runs[total].initial_state = (void *)(uintptr_t)isa;
        }
    }
    return _cmocka_run_group_tests("cpu", runs, total, NULL, NULL);
}

/* The size after this one: all up to `first`, and behind it one in seven where tests are slow. */
static inline int64_t next_size(int64_t size, int64_t first)
{
    return size < first || !TEST_IS_SLOW ? size + 1 : size + 7;
}

/* A small random number generator, so that a case has the same data on every machine. */
static inline uint32_t next_random(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*state >> 32);
}

/* Uniform in [-1, 1). */
static inline float random_real(uint64_t *state)
{
    return (float)((int32_t)next_random(state)) * 0x1p-31f;
}

/* The same bits, or both NaN. */
static inline int same_bits(float a, float b)
{
    return (a != a && b != b) || mglu_f32_bits(a) == mglu_f32_bits(b);
}

#endif
