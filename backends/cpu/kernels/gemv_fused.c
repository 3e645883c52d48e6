/* SPDX-License-Identifier: MIT */
#include "gemv_tokens.h"

/*
 * GEMV for four to seven tokens, with up to four masks: the product of a weight and an x is added as it is, not rounded
 * first, which takes one instruction less for each token and gives other bits than gemv.c.
 *
 * FOR_SIZES(CASE, ...) is CASE(n, tokens, ...) for each number of masks and of tokens of a call. With two masks and
 * more a call for more than five tokens is slower than two calls: their x, read from L2 for each row, is the limit.
 * They are separate functions: see for_mask_count.h.
 */
#define FOR_FEW_MASKS(CASE, n, ...)                                                                                    \
    CASE(n, 4, __VA_ARGS__) CASE(n, 5, __VA_ARGS__) CASE(n, 6, __VA_ARGS__) CASE(n, 7, __VA_ARGS__)
#define FOR_MORE_MASKS(CASE, n, ...) CASE(n, 3, __VA_ARGS__) CASE(n, 4, __VA_ARGS__) CASE(n, 5, __VA_ARGS__)
#define FOR_SIZES(CASE, ...)                                                                                           \
    FOR_FEW_MASKS(CASE, 0, __VA_ARGS__)                                                                                \
    FOR_FEW_MASKS(CASE, 1, __VA_ARGS__)                                                                                \
    FOR_MORE_MASKS(CASE, 2, __VA_ARGS__)                                                                               \
    FOR_MORE_MASKS(CASE, 3, __VA_ARGS__)                                                                               \
    FOR_MORE_MASKS(CASE, 4, __VA_ARGS__)

#define KERNEL_OF_SIZE(n, tokens, type, TYPE)                                                                          \
    static void fused_##type##_##n##_##tokens(const struct mglu_cpu_gemv *jobs)                                        \
    {                                                                                                                  \
        sum_matrix(jobs, MGLU_DTYPE_##TYPE, n, tokens, 1);                                                             \
    }
#define ENTRY_OF_SIZE(n, tokens, type, TYPE) [n][tokens] = fused_##type##_##n##_##tokens,
#define KERNELS_OF_DTYPE(type, TYPE)                                                                                   \
    FOR_SIZES(KERNEL_OF_SIZE, type, TYPE)                                                                              \
    static void fused_##type(const struct mglu_cpu_gemv *jobs)                                                         \
    {                                                                                                                  \
        static mglu_cpu_gemv_fn *const of_size[][MOST_TOKENS + 1] = {FOR_SIZES(ENTRY_OF_SIZE, type, TYPE)};            \
        of_size[jobs->n][jobs->tokens](jobs);                                                                          \
    }

KERNELS_OF_DTYPE(f32, F32)
KERNELS_OF_DTYPE(f16, F16)
KERNELS_OF_DTYPE(bf16, BF16)
KERNELS_OF_DTYPE(q8_0, Q8_0)
KERNELS_OF_DTYPE(q4_0, Q4_0)

const struct mglu_cpu_gemv_tokens KERNEL(gemv_fused) = {
    .least_batch = 4,
    .most_tokens = {7, 7, 5, 5, 5},
    .gemv = {[MGLU_DTYPE_F32] = fused_f32,
             [MGLU_DTYPE_F16] = fused_f16,
             [MGLU_DTYPE_BF16] = fused_bf16,
             [MGLU_DTYPE_Q8_0] = fused_q8_0,
             [MGLU_DTYPE_Q4_0] = fused_q4_0},
};
