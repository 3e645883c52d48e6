/* SPDX-License-Identifier: MIT */
#ifndef MGLU_BENCH_KERNELS_H
#define MGLU_BENCH_KERNELS_H

/**
 * @file
 * Loops that measure the limits of the machine, one table per instruction set: some only read, the others only multiply
 * and add.
 */

#include <stddef.h>
#include <stdint.h>

enum { KERNELS_READS = 2 };

struct kernels {
    const char *isa; /**< as the CPU backend names it */
    /**
     * Read `count` blocks of 64 bytes, 64-byte aligned: in order, and as four interleaved streams. The results
     * only prevent the compiler from removing the loop.
     */
    uint64_t (*read[KERNELS_READS])(const void *from, size_t count);
    /** Runs `steps` steps of multiply-adds in registers. */
    float (*multiply_add)(int64_t steps, float start);
    int64_t flops_per_step;
    /** The same with the dot product of bf16 pairs; NULL where the instruction set has none. */
    float (*dot_bf16)(int64_t steps, float start);
    int64_t dot_flops_per_step;
};

extern const struct kernels kernels_baseline;
extern const struct kernels kernels_avx2;
extern const struct kernels kernels_avx512;
extern const struct kernels kernels_avx512bf16;

#endif
