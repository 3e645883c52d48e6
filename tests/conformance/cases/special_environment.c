/* SPDX-License-Identifier: MIT */
#include "cases/special.h"

#include <fenv.h>
#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#if defined(__SSE__)
#include <xmmintrin.h>
#endif

/* Row 11: the caller's floating-point environment has no effect, and is unchanged on return. */

static void round_up(void)
{
    fesetround(FE_UPWARD);
}

static void round_down(void)
{
    fesetround(FE_DOWNWARD);
}

static void round_to_zero(void)
{
    fesetround(FE_TOWARDZERO);
}

#if defined(__SSE__)

enum { FLUSH_TO_ZERO = 1 << 15, DENORMALS_ARE_ZERO = 1 << 6, EXCEPTION_FLAGS = 0x3f };

static void flush_to_zero(void)
{
    _mm_setcsr(_mm_getcsr() | FLUSH_TO_ZERO | DENORMALS_ARE_ZERO);
}

static unsigned long control_word(void)
{
    return _mm_getcsr() & ~(unsigned)EXCEPTION_FLAGS;
}

#elif defined(__aarch64__)

static unsigned long control_word(void)
{
    unsigned long word;

    __asm__ volatile("mrs %0, fpcr" : "=r"(word));
    return word;
}

static void flush_to_zero(void)
{
    __asm__ volatile("msr fpcr, %0" ::"r"(control_word() | 1ul << 24));
}

#else

static void flush_to_zero(void)
{
}

static unsigned long control_word(void)
{
    return (unsigned long)fegetround();
}

#endif

static void unmask_exceptions(void)
{
    feclearexcept(FE_ALL_EXCEPT);
    feenableexcept(FE_ALL_EXCEPT);
}

static sigjmp_buf after_exception;

static void leave(int signal_number)
{
    siglongjmp(after_exception, signal_number);
}

/* All calls of a caller, from making the weights to y, in a changed environment. Weights are rounded in between. */
static unsigned char *run_in(void (*change)(void), const struct trial *trial, const struct problem *problem)
{
    unsigned char *volatile y = NULL;
    struct sigaction catch = {.sa_handler = leave}, before;
    unsigned long control;
    fenv_t callers;

    fegetenv(&callers);
    sigaction(SIGFPE, &catch, &before);
    if (sigsetjmp(after_exception, 1) == 0) {
        change();
        control = control_word();
        y = special_run(trial, problem);
        if (control_word() != control)
            outcome_set(trial->outcome, VERDICT_FAIL, "the floating-point environment is not as before: %#lx, was %#lx",
                        control_word(), control);
    } else {
        outcome_set(trial->outcome, VERDICT_FAIL, "SIGFPE: an exception that the caller has unmasked was raised");
    }
    sigaction(SIGFPE, &before, NULL);
    fesetenv(&callers);
    return y;
}

/* Subnormal, huge and ordinary numbers: without care every exception would be raised. */
static struct problem provoking_problem(const struct trial *trial)
{
    struct problem problem = special_problem(trial, 7, PART_BIASES | PART_ROUTER);

    problem.layer.top_k = 2;
    for (int64_t token = 0; token < 3; token++) {
        *x_at(&problem, token, 4) = trial->dtypes->x == MGLU_DTYPE_F16 ? 0x1.8p-23f : 0x1.8p-130f;
        *x_at(&problem, token, 5) = trial->dtypes->x == MGLU_DTYPE_F16 ? 0x1p-14f : 0x1p-100f;
    }
    for (int64_t r = 0; r < 9; r++) {
        *weight_at(&problem, r, 5) = trial->dtypes->weight == MGLU_DTYPE_F16 ? 0x1.8p-24f : 0x1p-40f;
        problem.gate_bias[r] = r % 2 ? 200.0f : -200.0f;
    }
    return problem;
}

static void expect_no_effect(const struct trial *trial, void (*change)(void))
{
    struct problem problem = provoking_problem(trial);
    unsigned char *usual = special_run(trial, &problem), *y = NULL;

    if (usual)
        y = run_in(change, trial, &problem);
    if (y)
        expect_same(trial->outcome, &problem, y, usual, NONE, NONE, "in the default environment");
    free(usual);
    free(y);
    problem_free(&problem);
}

static void rounding_modes(const struct trial *trial)
{
    expect_no_effect(trial, round_up);
    expect_no_effect(trial, round_down);
    expect_no_effect(trial, round_to_zero);
}

static void flushing(const struct trial *trial)
{
    expect_no_effect(trial, flush_to_zero);
}

static void exceptions(const struct trial *trial)
{
    expect_no_effect(trial, unmask_exceptions);
}

/* One number at a time, so that no larger one hides its loss. The last is subnormal in every dtype. */
static void flushing_of_single_values(const struct trial *trial)
{
    const float smallest = trial->dtypes->y == MGLU_DTYPE_F16 ? 0x1p-24f : 0x1p-126f;
    const float gates[] = {1, 1, 1, 1};
    const float values[] = {smallest, 3 * smallest, -smallest,
                            trial->dtypes->y == MGLU_DTYPE_F16 ? smallest : 0x1p-130f};
    struct problem problem = bias_problem(trial, gates, values, 4);
    unsigned char *usual = special_run(trial, &problem), *y = NULL;

    if (usual)
        y = run_in(flush_to_zero, trial, &problem);
    if (y)
        expect_same(trial->outcome, &problem, y, usual, NONE, NONE, "in the default environment");
    for (int64_t i = 0; y && i < 3; i++)
        expect_value(trial->outcome, &problem, y, 0, i, (double)values[i]);
    free(usual);
    free(y);
    problem_free(&problem);
}

const struct special_check environment_checks[] = {
    {"11-rounding-modes", PER_DTYPE | QUANTISED | PER_ACTIVATION, rounding_modes},
    {"11-flush-to-zero", PER_DTYPE | PER_ACTIVATION, flushing},
    {"11-flush-to-zero-of-single-values", PER_DTYPE, flushing_of_single_values},
    {"11-unmasked-exceptions", PER_DTYPE | PER_ACTIVATION, exceptions},
    {NULL, 0, NULL},
};
