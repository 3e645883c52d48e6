/* SPDX-License-Identifier: MIT */
#ifndef MGLU_CORE_FLOAT_ENVIRONMENT_H
#define MGLU_CORE_FLOAT_ENVIRONMENT_H

/*
 * Rounding mode, flush-to-zero, unmasked exceptions and exception flags belong to the thread that calls. The library
 * computes in the default environment and leaves the caller's as it was. On x86-64 only MXCSR counts, since no code
 * here uses the x87 unit, which makes fegetenv() and fesetenv() a hundred times as slow. A register is written only
 * where its value changes: reading it takes 2 ns, a change 30 ns.
 */

#if defined(__x86_64__)

#include <xmmintrin.h>

typedef unsigned mglu_float_environment;

/* Round to nearest, subnormals kept, every exception masked; the flags in the lowest bits have no effect. */
enum { MGLU_MXCSR_DEFAULT = 0x1f80, MGLU_MXCSR_FLAGS = 0x3f };

static inline mglu_float_environment mglu_float_enter(void)
{
    mglu_float_environment callers = _mm_getcsr();

    if ((callers & ~(unsigned)MGLU_MXCSR_FLAGS) != MGLU_MXCSR_DEFAULT)
        _mm_setcsr(MGLU_MXCSR_DEFAULT);
    /* The compiler does not know that arithmetic depends on the register: it must not move any across the change. */
    __asm__ volatile("" ::: "memory");
    return callers;
}

static inline void mglu_float_leave(const mglu_float_environment *callers)
{
    __asm__ volatile("" ::: "memory");
    if (_mm_getcsr() != *callers)
        _mm_setcsr(*callers);
}

#elif defined(__aarch64__)

typedef struct mglu_float_environment {
    unsigned long control, flags; /* FPCR, whose default is 0, and FPSR */
} mglu_float_environment;

static inline mglu_float_environment mglu_float_get(void)
{
    mglu_float_environment environment;

    __asm__ volatile("mrs %0, fpcr" : "=r"(environment.control));
    __asm__ volatile("mrs %0, fpsr" : "=r"(environment.flags));
    return environment;
}

static inline mglu_float_environment mglu_float_enter(void)
{
    mglu_float_environment callers = mglu_float_get();

    if (callers.control)
        __asm__ volatile("msr fpcr, %0" ::"r"(0ul));
    __asm__ volatile("" ::: "memory");
    return callers;
}

static inline void mglu_float_leave(const mglu_float_environment *callers)
{
    __asm__ volatile("" ::: "memory");
    if (callers->control)
        __asm__ volatile("msr fpcr, %0" ::"r"(callers->control));
    if (mglu_float_get().flags != callers->flags)
        __asm__ volatile("msr fpsr, %0" ::"r"(callers->flags));
}

#else

#include <fenv.h>

typedef fenv_t mglu_float_environment;

static inline mglu_float_environment mglu_float_enter(void)
{
    fenv_t callers;

    fegetenv(&callers);
    fesetenv(FE_DFL_ENV);
    return callers;
}

static inline void mglu_float_leave(const mglu_float_environment *callers)
{
    fesetenv(callers);
}

#endif

/* A declaration: the rest of the block runs in the default environment, whichever way it is left. */
#define MGLU_DEFAULT_FLOATS                                                                                            \
    __attribute__((cleanup(mglu_float_leave), unused)) const mglu_float_environment callers_floats = mglu_float_enter()

#endif
