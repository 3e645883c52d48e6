/* SPDX-License-Identifier: MIT */
#include "draw.h"

#include <string.h>

/* SplitMix64 of Steele, Lea and Flood: sequence is fixed, so that every run measures the same data. */
uint64_t random_bits(struct random *random)
{
    uint64_t bits = random->state += 0x9e3779b97f4a7c15;
    bits = (bits ^ (bits >> 30)) * 0xbf58476d1ce4e5b9;
    bits = (bits ^ (bits >> 27)) * 0x94d049bb133111eb;
    return bits ^ (bits >> 31);
}

int64_t random_below(struct random *random, int64_t bound)
{
    return (int64_t)(random_bits(random) % (uint64_t)bound);
}

/** The sum of four even draws: near enough to a normal one, and fast. */
static float draw_one(struct random *random)
{
    const uint64_t bits = random_bits(random);
    const int32_t sum = (int32_t)((bits & 0xffff) + (bits >> 16 & 0xffff) + (bits >> 32 & 0xffff) + (bits >> 48));
    return (float)(sum - 2 * 65535) / 37837.0f;
}

void draw_normal(struct random *random, double deviation, mglu_dtype dtype, void *target, size_t count)
{
    enum { PIECE = 4096 };
    float piece[PIECE];
    char *to = target;
    for (size_t done = 0; done < count; done += PIECE) {
        const size_t length = count - done < PIECE ? count - done : PIECE;
        for (size_t i = 0; i < length; i++)
            piece[i] = (float)deviation * draw_one(random);
        /* Can't fail: both dtypes are floating-point. */
        (void)!mglu_convert(piece, MGLU_DTYPE_F32, to, dtype, length);
        to += length * mglu_dtype_size(dtype);
    }
}

void draw_masks(struct random *random, int32_t n_masks, int64_t d, int64_t h, uint32_t *words)
{
    const int64_t groups = mglu_packed_columns(h) / 32;
    const uint32_t last = h % 32 ? (1u << h % 32) - 1 : UINT32_MAX;
    for (int64_t row = 0; row < d; row++)
        for (int64_t group = 0; group < groups; group++)
            for (int32_t mask = 0; mask < n_masks; mask++)
                *words++ = (uint32_t)random_bits(random) & (group == groups - 1 ? last : UINT32_MAX);
}

void draw_routing(struct random *random, int64_t batch, int32_t top_k, int32_t n_masks, int32_t *ids, float *weights)
{
    for (int64_t token = 0; token < batch; token++) {
        int32_t order[MGLU_MAX_MASKS];
        for (int32_t i = 0; i < n_masks; i++)
            order[i] = i;
        for (int32_t i = 0; i < top_k; i++) {
            const int64_t other = i + random_below(random, n_masks - i);
            const int32_t chosen = order[other];
            order[other] = order[i];
            ids[token * top_k + i] = chosen;
            weights[token * top_k + i] = 1.0f / (float)top_k;
        }
    }
}
