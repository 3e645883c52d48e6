/* SPDX-License-Identifier: MIT */
#include "draw.h"

#include "tools/common/threads.h"

#include <string.h>

/** Fewer numbers than this are generated before a thread has started. */
static const size_t worth_threads = 1 << 20;

static const uint64_t random_step = 0x9e3779b97f4a7c15;

/* SplitMix64 of Steele, Lea and Flood: sequence is fixed, so that every run measures the same data. */
uint64_t random_bits(struct random *random)
{
    uint64_t bits = random->state += random_step;
    bits = (bits ^ (bits >> 30)) * 0xbf58476d1ce4e5b9;
    bits = (bits ^ (bits >> 27)) * 0x94d049bb133111eb;
    return bits ^ (bits >> 31);
}

int64_t random_below(struct random *random, int64_t bound)
{
    return (int64_t)(random_bits(random) % (uint64_t)bound);
}

/** The sum of four uniform numbers: close enough to a normal distribution, and fast. */
static float draw_one(struct random *random)
{
    const uint64_t bits = random_bits(random);
    const int32_t sum = (int32_t)((bits & 0xffff) + (bits >> 16 & 0xffff) + (bits >> 32 & 0xffff) + (bits >> 48));
    return (float)(sum - 2 * 65535) / 37837.0f;
}

/** Skips `count` numbers of a generator, and returns its earlier state, from which others generate them. */
static struct random random_skip(struct random *random, size_t count)
{
    const struct random skipped = *random;
    random->state += count * random_step;
    return skipped;
}

/** At most PIECE numbers, one word of random bits each. */
enum { PIECE = 4096 };

static void draw_piece(struct random random, double deviation, mglu_dtype dtype, void *target, size_t count)
{
    float piece[PIECE];
    for (size_t i = 0; i < count; i++)
        piece[i] = (float)deviation * draw_one(&random);
    /* Can't fail: both dtypes are floating-point. */
    (void)!mglu_convert(piece, MGLU_DTYPE_F32, target, dtype, count);
}

void draw_normal(struct random *random, double deviation, mglu_dtype dtype, void *target, size_t count)
{
    const size_t size = mglu_dtype_size(dtype);
    const struct random first = random_skip(random, count);
#pragma omp parallel for num_threads(threads_usable()) if (count > worth_threads)
    for (size_t done = 0; done < count; done += PIECE) {
        struct random start = first;
        random_skip(&start, done);
        draw_piece(start, deviation, dtype, (char *)target + done * size, count - done < PIECE ? count - done : PIECE);
    }
}

void draw_masks(struct random *random, int32_t n_masks, int64_t d, int64_t h, uint32_t *words)
{
    const int64_t groups = mglu_packed_columns(h) / 32;
    const uint32_t last = h % 32 ? (1u << h % 32) - 1 : UINT32_MAX;
    const size_t row_words = (size_t)groups * (size_t)n_masks, end = row_words - (size_t)n_masks;
    const struct random first = random_skip(random, (size_t)d * row_words);
#pragma omp parallel for num_threads(threads_usable()) if ((size_t)d * row_words > worth_threads)
    for (int64_t row = 0; row < d; row++) {
        struct random start = first;
        random_skip(&start, (size_t)row * row_words);
        for (size_t i = 0; i < row_words; i++)
            words[(size_t)row * row_words + i] = (uint32_t)random_bits(&start) & (i < end ? UINT32_MAX : last);
    }
}

void draw_routing(struct random *random, int64_t batch, int32_t top_k, int32_t n_masks, int32_t *ids, float *weights)
{
    for (int64_t token = 0; token < batch; token++) {
        int32_t order[MGLU_MAX_MASKS];
        for (int32_t i = 0; i < n_masks; i++)
            order[i] = i;
        for (int32_t i = 0; i < top_k; i++) {
            const int64_t other = i + random_below(random, n_masks - i);
            const int32_t selected = order[other];
            order[other] = order[i];
            ids[token * top_k + i] = selected;
            weights[token * top_k + i] = 1.0f / (float)top_k;
        }
    }
}
