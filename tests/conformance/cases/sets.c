/* SPDX-License-Identifier: MIT */
#include "cases/sets.h"

#include <stdarg.h>

const struct dtypes dtype_sets[DTYPE_SETS] = {
    {"f32-f32-f32", MGLU_DTYPE_F32, MGLU_DTYPE_F32, MGLU_DTYPE_F32, 0},
    {"f16-f16-f16", MGLU_DTYPE_F16, MGLU_DTYPE_F16, MGLU_DTYPE_F16, 0},
    {"f16-f16-f32", MGLU_DTYPE_F16, MGLU_DTYPE_F16, MGLU_DTYPE_F32, 0},
    {"bf16-bf16-bf16", MGLU_DTYPE_BF16, MGLU_DTYPE_BF16, MGLU_DTYPE_BF16, 0},
    {"bf16-bf16-f32", MGLU_DTYPE_BF16, MGLU_DTYPE_BF16, MGLU_DTYPE_F32, 0},
    {"q8_0-f32-f32", MGLU_DTYPE_Q8_0, MGLU_DTYPE_F32, MGLU_DTYPE_F32, 0},
    {"q4_0-f16-f32", MGLU_DTYPE_Q4_0, MGLU_DTYPE_F16, MGLU_DTYPE_F32, 0},
    {"q8_0-f32-f32-quantised-x", MGLU_DTYPE_Q8_0, MGLU_DTYPE_F32, MGLU_DTYPE_F32, MGLU_LAYER_ALLOW_QUANTISED_X},
    {"q4_0-f16-f32-quantised-x", MGLU_DTYPE_Q4_0, MGLU_DTYPE_F16, MGLU_DTYPE_F32, MGLU_LAYER_ALLOW_QUANTISED_X},
};

bool worth_a_case(size_t dtypes, size_t activation)
{
    return !mglu_dtype_is_quantised(dtype_sets[dtypes].weight) || activation == MGLU_ACTIVATION_SILU ||
           activation == MGLU_ACTIVATION_IDENTITY;
}

_Static_assert(MGLU_DTYPE_COUNT == 5, "a new dtype needs a set here");

void list_case(case_sink *sink, void *user, enum tier tier, size_t number, const char *format, ...)
{
    struct test_case test = {.tier = tier, .data = (const void *)(uintptr_t)number};
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(test.name, sizeof test.name, format, arguments);
    va_end(arguments);
    sink(user, &test);
}

size_t case_number(const struct test_case *test)
{
    return (size_t)(uintptr_t)test->data;
}

size_t trial_number(size_t kind, size_t dtypes, size_t activation)
{
    return (kind * DTYPE_SETS + dtypes) * ACTIVATIONS + activation;
}

struct trial trial_of(const struct target *target, const struct test_case *test, struct outcome *outcome)
{
    size_t number = case_number(test);

    return (struct trial){.target = target,
                          .kind = number / (DTYPE_SETS * ACTIVATIONS),
                          .dtypes = &dtype_sets[number / ACTIVATIONS % DTYPE_SETS],
                          .activation = (mglu_activation)(number % ACTIVATIONS),
                          .random = random_for(target, test->name, "problem"),
                          .outcome = outcome};
}
