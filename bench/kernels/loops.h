/* SPDX-License-Identifier: MIT */
#ifndef MGLU_BENCH_LOOPS_H
#define MGLU_BENCH_LOOPS_H

/**
 * @file
 * The loops of every table, with vectors of VECTOR_BYTES, which the including file defines. Each file is compiled with
 * the flags of its instruction set and with contraction, so that a multiplication and an addition are fused.
 */

#include "kernels.h"

typedef float vector_f32 __attribute__((vector_size(VECTOR_BYTES)));
typedef int32_t vector_i32 __attribute__((vector_size(VECTOR_BYTES)));
typedef uint64_t vector_u64 __attribute__((vector_size(VECTOR_BYTES), may_alias));

enum { BLOCK_VECTORS = 64 / VECTOR_BYTES, LANES = VECTOR_BYTES / 4, CHAINS = 12 };

/** Operations of a step: two for each multiplication and its addition. */
enum { F32_OPERATIONS = 2 * CHAINS * LANES, INT8_OPERATIONS = 8 * CHAINS * LANES };

/** Interleaved streams, and the blocks of each: 32 KiB. */
enum { STREAMS = 4, STREAM_BLOCKS = 512 };

/** XORs `parts` parts of `count` blocks each, interleaved by blocks. `parts` is a constant in all callers. */
static inline vector_u64 fold_parts(const vector_u64 *from, size_t count, int parts)
{
    vector_u64 folded[STREAMS] = {{0}};
    for (size_t block = 0; block < count; block++)
        for (int part = 0; part < parts; part++)
            for (int i = 0; i < BLOCK_VECTORS; i++)
                folded[(part * BLOCK_VECTORS + i) % STREAMS] ^=
                    from[((size_t)part * count + block) * BLOCK_VECTORS + (size_t)i];
    return folded[0] ^ folded[1] ^ folded[2] ^ folded[3];
}

static uint64_t fold_lanes(vector_u64 vector)
{
    uint64_t folded = 0;
    for (size_t lane = 0; lane < VECTOR_BYTES / 8; lane++)
        folded ^= vector[lane];
    return folded;
}

static uint64_t read_blocks(const void *from, size_t count)
{
    return fold_lanes(fold_parts(from, count, 1));
}

/** Windows of four streams; the rest in one. */
static uint64_t read_side_by_side(const void *from, size_t count)
{
    const vector_u64 *vectors = from;
    vector_u64 folded = {0};
    size_t at = 0;
    for (; at + STREAMS * STREAM_BLOCKS <= count; at += STREAMS * STREAM_BLOCKS)
        folded ^= fold_parts(vectors + at * BLOCK_VECTORS, STREAM_BLOCKS, STREAMS);
    return fold_lanes(folded) ^ read_blocks(vectors + at * BLOCK_VECTORS, count - at);
}

/** Twelve independent chains: more than two units times the latency, and few enough for the registers of AVX2. */
static float multiply_add(int64_t steps, float start)
{
    const vector_f32 factor = (vector_f32){0} + (1 - start * 0x1p-20f), summand = (vector_f32){0} + start;
    vector_f32 a = summand, b = a + 1.0f, c = a + 2.0f, d = a + 3.0f, e = a + 4.0f, f = a + 5.0f;
    vector_f32 g = a + 6.0f, h = a + 7.0f, i = a + 8.0f, j = a + 9.0f, k = a + 10.0f, l = a + 11.0f;
    for (int64_t step = 0; step < steps; step++) {
        a = a * factor + summand;
        b = b * factor + summand;
        c = c * factor + summand;
        d = d * factor + summand;
        e = e * factor + summand;
        f = f * factor + summand;
        g = g * factor + summand;
        h = h * factor + summand;
        i = i * factor + summand;
        j = j * factor + summand;
        k = k * factor + summand;
        l = l * factor + summand;
    }
    a += b + c + d + e + f + g + h + i + j + k + l;
    return a[0];
}

#endif
