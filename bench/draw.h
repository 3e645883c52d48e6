/* SPDX-License-Identifier: MIT */
#ifndef MGLU_BENCH_DRAW_H
#define MGLU_BENCH_DRAW_H

/**
 * @file
 * Random data. Never zeros: multiplying by zero can be faster, and all zeroed pages may map to one physical page.
 */

#include <mglu/mglu.h>

#include <stdbool.h>

struct random {
    uint64_t state;
};

uint64_t random_bits(struct random *random);

/** Uniform from 0 to bound - 1. */
int64_t random_below(struct random *random, int64_t bound);

/** `count` normally distributed numbers with this standard deviation, in f32, f16 or bf16. */
void draw_normal(struct random *random, double deviation, mglu_dtype dtype, void *target, size_t count);

/** The packed words of masks, half ones, padding zero. */
void draw_masks(struct random *random, int32_t n_masks, int64_t d, int64_t h, uint32_t *words);

/** For each token `top_k` different masks and weights that add up to 1. */
void draw_routing(struct random *random, int64_t batch, int32_t top_k, int32_t n_masks, int32_t *ids, float *weights);

#endif
