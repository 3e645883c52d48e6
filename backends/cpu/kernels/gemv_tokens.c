/* SPDX-License-Identifier: MIT */
#include "gemv_tokens.h"
#include "for_mask_count.h"

/* GEMV for two or three tokens at once, with the bits of gemv.c. */

/* Functions for each number of masks, and one that selects one of them. */
#define KERNELS_OF_COUNT(n, type, TYPE)                                                                                \
    static void two_##type##_##n(const struct mglu_cpu_gemv *jobs)                                                     \
    {                                                                                                                  \
        sum_matrix(jobs, MGLU_DTYPE_##TYPE, n, 2, 0);                                                                  \
    }                                                                                                                  \
    static void three_##type##_##n(const struct mglu_cpu_gemv *jobs)                                                   \
    {                                                                                                                  \
        sum_matrix(jobs, MGLU_DTYPE_##TYPE, n, 3, 0);                                                                  \
    }
#define ENTRIES_OF_COUNT(n, type, TYPE) [n] = {two_##type##_##n, three_##type##_##n},
#define KERNELS_OF_DTYPE(type, TYPE)                                                                                   \
    VEC_FOR_MASK_COUNTS(KERNELS_OF_COUNT, type, TYPE)                                                                  \
    static void tokens_##type(const struct mglu_cpu_gemv *jobs)                                                        \
    {                                                                                                                  \
        static mglu_cpu_gemv_fn *const of_count[][2] = {VEC_FOR_MASK_COUNTS(ENTRIES_OF_COUNT, type, TYPE)};            \
        of_count[jobs->n][jobs->tokens - 2](jobs);                                                                     \
    }

KERNELS_OF_DTYPE(f32, F32)
KERNELS_OF_DTYPE(f16, F16)
KERNELS_OF_DTYPE(bf16, BF16)
KERNELS_OF_DTYPE(q8_0, Q8_0)
KERNELS_OF_DTYPE(q4_0, Q4_0)

const struct mglu_cpu_gemv_tokens KERNEL(gemv_tokens) = {
    .least_batch = 2,
    .most_tokens = {3, 3, 3, 3, 3, 3, 3, 3, 3},
    .gemv = {[MGLU_DTYPE_F32] = tokens_f32,
             [MGLU_DTYPE_F16] = tokens_f16,
             [MGLU_DTYPE_BF16] = tokens_bf16,
             [MGLU_DTYPE_Q8_0] = tokens_q8_0,
             [MGLU_DTYPE_Q4_0] = tokens_q4_0},
};
