/* SPDX-License-Identifier: MIT */
#ifndef MGLU_CPU_FOR_MASK_COUNT_H
#define MGLU_CPU_FOR_MASK_COUNT_H

/*
 * FOR_MASK_COUNTS_<most>(CASE, ...) is CASE(n, ...) for each n from 0 to <most>. GEMV kernels have one function for
 * each number of masks, so that the sums of all masks stay in registers. They are separate functions, not cases of one
 * large function: compilers need more than linear time for that, and allocate registers worse.
 */
#define FOR_MASK_COUNTS_1(CASE, ...) CASE(0, __VA_ARGS__) CASE(1, __VA_ARGS__)
#define FOR_MASK_COUNTS_2(CASE, ...) FOR_MASK_COUNTS_1(CASE, __VA_ARGS__) CASE(2, __VA_ARGS__)
#define FOR_MASK_COUNTS_3(CASE, ...) FOR_MASK_COUNTS_2(CASE, __VA_ARGS__) CASE(3, __VA_ARGS__)
#define FOR_MASK_COUNTS_6(CASE, ...)                                                                                   \
    FOR_MASK_COUNTS_3(CASE, __VA_ARGS__) CASE(4, __VA_ARGS__) CASE(5, __VA_ARGS__) CASE(6, __VA_ARGS__)
#define FOR_MASK_COUNTS_8(CASE, ...) FOR_MASK_COUNTS_6(CASE, __VA_ARGS__) CASE(7, __VA_ARGS__) CASE(8, __VA_ARGS__)
#define FOR_MASK_COUNTS_16(CASE, ...)                                                                                  \
    FOR_MASK_COUNTS_8(CASE, __VA_ARGS__)                                                                               \
    CASE(9, __VA_ARGS__)                                                                                               \
    CASE(10, __VA_ARGS__)                                                                                              \
    CASE(11, __VA_ARGS__)                                                                                              \
    CASE(12, __VA_ARGS__) CASE(13, __VA_ARGS__) CASE(14, __VA_ARGS__) CASE(15, __VA_ARGS__) CASE(16, __VA_ARGS__)

#endif
