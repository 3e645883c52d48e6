/* SPDX-License-Identifier: MIT */
#if !defined(__AVX2__) || !defined(__F16C__)
#error "build this file with -mavx2 -mfma -mf16c"
#endif

#define KERNEL(name) mglu_##name##_avx2

#include "vec_avx2.h"

#include "set.h"

#include "trees.h"

static void KERNEL(trees_f32)(const struct mglu_cpu_sums *job)
{
    sum_trees(job, MGLU_DTYPE_F32);
}

static void KERNEL(trees_f16)(const struct mglu_cpu_sums *job)
{
    sum_trees(job, MGLU_DTYPE_F16);
}

static void KERNEL(trees_bf16)(const struct mglu_cpu_sums *job)
{
    sum_trees(job, MGLU_DTYPE_BF16);
}

static void KERNEL(trees_q8_0)(const struct mglu_cpu_sums *job)
{
    sum_trees(job, MGLU_DTYPE_Q8_0);
}

static void KERNEL(trees_q4_0)(const struct mglu_cpu_sums *job)
{
    sum_trees(job, MGLU_DTYPE_Q4_0);
}

mglu_cpu_sums_fn *const KERNEL(trees)[MGLU_DTYPE_Q4_0 + 1] = {
    [MGLU_DTYPE_F32] = KERNEL(trees_f32),   [MGLU_DTYPE_F16] = KERNEL(trees_f16),
    [MGLU_DTYPE_BF16] = KERNEL(trees_bf16), [MGLU_DTYPE_Q8_0] = KERNEL(trees_q8_0),
    [MGLU_DTYPE_Q4_0] = KERNEL(trees_q4_0),
};
