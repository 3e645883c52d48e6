/* SPDX-License-Identifier: MIT */
#ifndef MGLU_BENCH_KERNELS_H
#define MGLU_BENCH_KERNELS_H

/**
 * @file
 * Loops that measure the limits of the machine, one table per instruction set: some only read, the others only multiply
 * and add.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { KERNELS_READS = 2 };

/** What multiplies and adds. */
enum unit_kind {
    UNIT_F32,
    UNIT_BF16, /**< pairs of bf16, sums in f32 */
    UNIT_INT8, /**< fours of bytes, sums of 32 bits */
    UNIT_KINDS
};

struct unit {
    const char *name;                         /**< NULL: the instruction set has none */
    float (*run)(int64_t steps, float start); /**< multiplies and adds in registers */
    int64_t operations_per_step;              /**< two for each multiplication and its addition */
};

struct kernels {
    const char *isa;       /**< as the CPU backend names it */
    bool (*prepare)(void); /**< whether this process may use it; NULL: always */
    /**
     * Read `count` blocks of 64 bytes, 64-byte aligned: in order, and as four interleaved streams. The results
     * only prevent the compiler from removing the loop.
     */
    uint64_t (*read[KERNELS_READS])(const void *from, size_t count);
    struct unit units[UNIT_KINDS];
};

extern const struct kernels kernels_baseline;
extern const struct kernels kernels_avx2;
extern const struct kernels kernels_avxvnni;
extern const struct kernels kernels_avx512;
extern const struct kernels kernels_avx512vnni;
extern const struct kernels kernels_avx512bf16;
extern const struct kernels kernels_avx512amx;
extern const struct kernels kernels_neondot;
extern const struct kernels kernels_neoni8mm;

#endif
