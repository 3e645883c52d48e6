/* SPDX-License-Identifier: MIT */
#ifndef MGLU_CPU_INT8_KERNELS_H
#define MGLU_CPU_INT8_KERNELS_H

/* What GEMV kernels of integers share: the products of scales, and the functions for each number of masks. */

#include "for_mask_count.h"
#include "weights.h"

mglu_cpu_gemv_fn KERNEL(gemv_int8_q8_0), KERNEL(gemv_int8_q4_0);

/* Groups of a block, whose scales are multiplied at once. */
enum { BLOCK_GROUPS = 32 };

/* Prefetch distance in bytes: measured on a Zen 3, where 8 KiB are 10 % slower. */
enum { INT8_PREFETCH = 1024 };

/*
 * Products of two groups' scales, for up to BLOCK_GROUPS groups. The last vector is written whole, beyond the groups,
 * but only those of the groups are read.
 */
MGLU_INLINE void multiply_scales(const uint16_t *of_weights, const float *of_x, int64_t groups, float *products)
{
    int64_t group = 0;

    for (; group + VEC_LANES <= groups; group += VEC_LANES)
        vec_store_f32(products + group, vec_mul(vec_load_f16(of_weights + group), vec_load_f32(of_x + group)));
#ifdef VEC_LOADS_SOME_F16
    if (group < groups)
        vec_store_f32(products + group,
                      vec_mul(vec_load_some_f16(of_weights + group, groups - group), vec_load_f32(of_x + group)));
#else
    for (; group < groups; group++)
        vec_store_f32(products + group, vec_mul(vec_broadcast_f16(of_weights[group]), vec_broadcast(of_x + group)));
#endif
}

/* The parameters that a kernel is specialised on: compile-time constants. */
struct shape {
    mglu_dtype dtype;
    int n, has_ids, tokens;
};

/*
 * The kernels of a dtype for each number of masks: with all masks or some, and with all masks for several tokens. They
 * call sum_matrix(jobs, shape), which the file that uses this has.
 */
#define INT8_KERNEL(name, TYPE, n, has_ids, tokens)                                                                    \
    static void name(const struct mglu_cpu_gemv *jobs)                                                                 \
    {                                                                                                                  \
        sum_matrix(jobs, (struct shape){MGLU_DTYPE_##TYPE, n, has_ids, tokens});                                       \
    }
#define ALL_KERNEL(n, type, TYPE)  INT8_KERNEL(all_##type##_##n, TYPE, n, 0, 1)
#define SOME_KERNEL(n, type, TYPE) INT8_KERNEL(some_##type##_##n, TYPE, n, 1, 1)
#define TOKENS_KERNEL(n, type, TYPE)                                                                                   \
    INT8_KERNEL(several_tokens_##type##_##n, TYPE, n, 0, mglu_cpu_int8_tokens_per_call(n))
#define ENTRY(n, name) [n] = name##_##n,

#ifdef BYTES_WITH_IDS_ONLY

/* One token, with the kernels of up to 8 masks, in passes over the rows where there are more. */
MGLU_INLINE void sum_in_passes(const struct mglu_cpu_gemv *job, mglu_cpu_gemv_fn *const *kernels)
{
    static const int32_t all[MGLU_MAX_MASKS] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    struct mglu_cpu_gemv pass = *job;

    if (!pass.mask_ids)
        pass.mask_ids = all;
    for (; pass.n > 8; pass.n -= 8, pass.mask_ids += 8, pass.gates += 8)
        kernels[8](&pass);
    kernels[pass.n](&pass);
}

#define KERNELS_OF_DTYPE(type, TYPE)                                                                                   \
    FOR_MASK_COUNTS_8(SOME_KERNEL, type, TYPE)                                                                         \
    FOR_MASK_COUNTS_3(TOKENS_KERNEL, type, TYPE)                                                                       \
    void KERNEL(gemv_int8_##type)(const struct mglu_cpu_gemv *jobs)                                                    \
    {                                                                                                                  \
        static mglu_cpu_gemv_fn *const some[] = {FOR_MASK_COUNTS_8(ENTRY, some_##type)};                               \
        static mglu_cpu_gemv_fn *const several_tokens[] = {FOR_MASK_COUNTS_3(ENTRY, several_tokens_##type)};           \
        if (jobs->tokens > 1)                                                                                          \
            several_tokens[jobs->n](jobs);                                                                             \
        else                                                                                                           \
            sum_in_passes(jobs, some);                                                                                 \
    }

#else

#define KERNELS_OF_DTYPE(type, TYPE)                                                                                   \
    FOR_MASK_COUNTS_16(ALL_KERNEL, type, TYPE)                                                                         \
    FOR_MASK_COUNTS_16(SOME_KERNEL, type, TYPE)                                                                        \
    FOR_MASK_COUNTS_3(TOKENS_KERNEL, type, TYPE)                                                                       \
    void KERNEL(gemv_int8_##type)(const struct mglu_cpu_gemv *jobs)                                                    \
    {                                                                                                                  \
        static mglu_cpu_gemv_fn *const all[] = {FOR_MASK_COUNTS_16(ENTRY, all_##type)};                                \
        static mglu_cpu_gemv_fn *const some[] = {FOR_MASK_COUNTS_16(ENTRY, some_##type)};                              \
        static mglu_cpu_gemv_fn *const several_tokens[] = {FOR_MASK_COUNTS_3(ENTRY, several_tokens_##type)};           \
        (jobs->tokens > 1 ? several_tokens : jobs->mask_ids ? some : all)[jobs->n](jobs);                              \
    }

#endif

#endif
