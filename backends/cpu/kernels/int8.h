/* SPDX-License-Identifier: MIT */
#ifndef MGLU_CPU_INT8_H
#define MGLU_CPU_INT8_H

/*
 * Sums of integers: quantised weights with x rounded to 8 bits, for layers that allow it (accuracy class C).
 *
 * Of a group of 32 columns the products and their sums are exact. A register's sums become floats, are multiplied by
 * the scale of the group's weights times that of its x, and added to the groups before. Without masks, every
 * other register has a chain of additions of its own, to hide their latency. So a sum depends on its row, its mask and
 * x alone, not on the other masks or tokens, but for that.
 *
 * What the file that includes this has defined, besides a vec_<isa>.h and KERNEL(): bytes, BYTE_GROUPS (groups in a
 * register); for the first `groups` of them, the others being zeros, bytes_load, bytes_load_nibbles (low nibbles of a
 * group first, then high ones, less 8), and bytes_choose, which keeps the bytes that the bits of the groups' words
 * choose; bytes_magnitude and bytes_signed, such that bytes_dot(bytes_magnitude(w), bytes_signed(x, w)) has products of
 * w and x, and has them of a part of w where the other bytes of the magnitude are zeros; and spread_scales.
 */

#include "kernels.h"
#include "widen.h"

#include "common/core/mask_format.h"

#include <math.h>
#include <string.h>

/* Groups whose scales are multiplied at once. */
enum { SCALES = 32, MASKS_AT_ONCE = MGLU_MAX_MASKS, CHAINS = 2 };

/* How far ahead of their use weights are asked for: measured on a Zen 3, where AHEAD is 10 % slower. */
enum { INT8_AHEAD = 1024 };

/* Outside of these, and where x is not finite, a product of scales might be no normal number. */
#define LEAST_MAGNITUDE 0x1p-80f
#define MOST_MAGNITUDE  0x1p96f

/* The largest magnitude of a group, as an integer, so that the order is the same and NaN is above all. */
static uint32_t largest_bits(const float *x)
{
    uint32_t largest = 0;

    for (int j = 0; j < MGLU_GROUP_COLUMNS; j++) {
        uint32_t bits;
        memcpy(&bits, x + j, sizeof bits);
        bits &= 0x7fffffffu;
        largest = bits > largest ? bits : largest;
    }
    return largest;
}

/* To the nearest integer, ties to even: the sum has it in its last bits. */
MGLU_INLINE int8_t nearest(float v)
{
    const float sum = v + 0x1.8p23f;
    int32_t bits;

    memcpy(&bits, &sum, sizeof bits);
    return (int8_t)bits;
}

static void KERNEL(round_x)(const float *x, int64_t groups, void *rounded)
{
    float *scales = rounded;
    int8_t *quants = (int8_t *)mglu_cpu_quants(rounded, groups);

    memset(rounded, 0, mglu_cpu_rounded_bytes(groups));
    for (int64_t group = 0; group < groups; group++, x += MGLU_GROUP_COLUMNS, quants += MGLU_GROUP_COLUMNS) {
        const uint32_t bits = largest_bits(x);
        float largest, times;

        if (bits == 0)
            continue;
        memcpy(&largest, &bits, sizeof largest);
        if (!(largest >= LEAST_MAGNITUDE && largest <= MOST_MAGNITUDE)) {
            scales[0] = NAN;
            return;
        }
        scales[group] = largest / 127;
        times = 127 / largest;
        for (int j = 0; j < MGLU_GROUP_COLUMNS; j++)
            quants[j] = nearest(x[j] * times);
    }
}

/*
 * Products of two groups' scales, for up to SCALES groups; so many more than there are groups may be written that the
 * last vector is whole, but nothing beyond them is read.
 */
MGLU_INLINE void multiply_scales(const uint16_t *of_weights, const float *of_x, int64_t groups, float *products)
{
    int64_t group = 0;

    for (; group + VEC_LANES <= groups; group += VEC_LANES)
        vec_store_f32(products + group, vec_mul(vec_load_f16(of_weights + group), vec_load_f32(of_x + group)));
    for (; group < groups; group++)
        vec_store_f32(products + group, vec_mul(vec_spread_f16(of_weights[group]), vec_broadcast(of_x + group)));
}

/* The sums of one token. */
struct sums {
    vec total[CHAINS], gates[MGLU_MAX_MASKS];
};

MGLU_INLINE struct sums sums_zero(int n)
{
    struct sums sums;

    for (int chain = 0; chain < CHAINS; chain++)
        sums.total[chain] = vec_zero();
    MGLU_UNROLL
    for (int i = 0; i < n; i++)
        sums.gates[i] = vec_zero();
    return sums;
}

/* Where the weights, the masks and each token's x of some groups lie, and the products of their scales. */
struct place {
    const char *weights;
    const uint32_t *words;   /* of the first group; the next group's are `pitch` further */
    const int32_t *mask_ids; /* NULL: all masks */
    int64_t pitch;
    const char *x[MGLU_CPU_TOGETHER];
    const float *scales[MGLU_CPU_TOGETHER];
};

MGLU_INLINE bytes load_weights(const char *weights, int64_t at, mglu_dtype dtype, int groups)
{
    if (dtype == MGLU_DTYPE_Q8_0)
        return bytes_load(weights + at * MGLU_GROUP_COLUMNS, groups);
    return bytes_load_nibbles(weights + at * MGLU_Q4_0_GROUP_BYTES, groups);
}

MGLU_INLINE bytes choose(const struct place *place, int64_t at, bytes magnitude, int i, int groups)
{
    const int32_t mask = place->mask_ids ? place->mask_ids[i] : i;

    return bytes_choose(magnitude, place->words + at * place->pitch + mask, place->pitch, groups);
}

/*
 * Adds a register's groups to the sums. All but `place` and `sums` are constants where this is used. What masks choose
 * for several tokens is kept, for one token it would take registers for nothing.
 */
MGLU_INLINE void add_groups(const struct place *place, int64_t at, mglu_dtype dtype, int n, int tokens, int groups,
                            int chain, struct sums *sums)
{
    const bytes w = load_weights(place->weights, at, dtype, groups), magnitude = bytes_magnitude(w);
    bytes chosen[MGLU_MAX_MASKS];

    MGLU_UNROLL
    for (int i = 0; i < n && tokens > 1; i++)
        chosen[i] = choose(place, at, magnitude, i, groups);
    MGLU_UNROLL
    for (int t = 0; t < tokens; t++) {
        const bytes x = bytes_signed(bytes_load(place->x[t] + at * MGLU_GROUP_COLUMNS, BYTE_GROUPS), w);
        const vec scale = spread_scales(place->scales[t] + at);
        sums[t].total[chain] = vec_fma(bytes_dot(magnitude, x), scale, sums[t].total[chain]);
        MGLU_UNROLL
        for (int i = 0; i < n; i++)
            sums[t].gates[i] = vec_fma(bytes_dot(tokens > 1 ? chosen[i] : choose(place, at, magnitude, i, groups), x),
                                       scale, sums[t].gates[i]);
    }
}

/* Adds up to SCALES groups to the sums. */
MGLU_INLINE void add_block(const struct place *place, int64_t groups, mglu_dtype dtype, int n, int tokens,
                           struct sums *sums)
{
    const int other = n == 0;
    int64_t at = 0;

    for (; at + 2 * BYTE_GROUPS <= groups; at += 2 * BYTE_GROUPS) {
        prefetch_weights(place->weights + (size_t)at * group_bytes(dtype), 2 * BYTE_GROUPS * group_bytes(dtype),
                         INT8_AHEAD);
        add_groups(place, at, dtype, n, tokens, BYTE_GROUPS, 0, sums);
        add_groups(place, at + BYTE_GROUPS, dtype, n, tokens, BYTE_GROUPS, other, sums);
    }
    if (at + BYTE_GROUPS <= groups) {
        add_groups(place, at, dtype, n, tokens, BYTE_GROUPS, 0, sums);
        at += BYTE_GROUPS;
    }
    if (at < groups)
        add_groups(place, at, dtype, n, tokens, 1, other, sums);
}

/* Row r for `tokens` tokens: the totals and n gate sums of each. All but `jobs` and `r` are constants here. */
MGLU_INLINE void sum_row_of(const struct mglu_cpu_sums *jobs, int32_t r, mglu_dtype dtype, int n, int all, int tokens)
{
    const struct mglu_cpu_matrix *matrix = jobs->matrix;
    const int64_t row = jobs->first_row + r, groups = matrix->groups, n_masks = matrix->n_masks;
    float products[MGLU_CPU_TOGETHER][SCALES + VEC_LANES];
    struct sums sums[MGLU_CPU_TOGETHER];
    struct place place = {.mask_ids = all ? NULL : jobs->mask_ids, .pitch = all ? n : n_masks};

    MGLU_UNROLL
    for (int t = 0; t < tokens; t++)
        sums[t] = sums_zero(n);
    for (int64_t group = 0; group < groups; group += SCALES) {
        const int64_t count = groups - group < SCALES ? groups - group : SCALES;
        const struct weight_row weights = row_from(matrix, row, group, dtype);
        place.weights = weights.weights;
        place.words = matrix->masks + (row * groups + group) * n_masks;
        MGLU_UNROLL
        for (int t = 0; t < tokens; t++) {
            place.x[t] = mglu_cpu_quants(jobs[t].x, groups) + group * MGLU_GROUP_COLUMNS;
            place.scales[t] = products[t];
            multiply_scales(weights.scales, (const float *)jobs[t].x + group, count, products[t]);
        }
        add_block(&place, count, dtype, n, tokens, sums);
    }
    MGLU_UNROLL
    for (int t = 0; t < tokens; t++) {
        jobs[t].totals[r] = vec_reduce(vec_add(sums[t].total[0], sums[t].total[1]));
        for (int i = 0; i < n; i++)
            jobs[t].gates[i][r] = vec_reduce(sums[t].gates[i]);
    }
}

MGLU_INLINE void sum_row(const struct mglu_cpu_sums *jobs, int32_t r, mglu_dtype dtype, int n, int more)
{
    if (jobs->mask_ids)
        sum_row_of(jobs, r, dtype, n, 0, 1);
    else if (jobs->tokens == 1)
        sum_row_of(jobs, r, dtype, n, 1, 1);
    else
        sum_row_of(jobs, r, dtype, n, 1, mglu_cpu_together(n));
}

/* Adds a register's groups of each of PLAIN_ROWS rows in turn. */
MGLU_INLINE void add_plain(const char *const *weights, const char *x, float (*products)[SCALES + VEC_LANES], int64_t at,
                           mglu_dtype dtype, int chain, vec (*totals)[CHAINS])
{
    const bytes of_x = bytes_load(x + at * MGLU_GROUP_COLUMNS, BYTE_GROUPS);

    MGLU_UNROLL
    for (int i = 0; i < PLAIN_ROWS; i++) {
        const bytes w = load_weights(weights[i], at, dtype, BYTE_GROUPS);
        prefetch_weights(weights[i] + (size_t)at * group_bytes(dtype), group_bytes(dtype), PLAIN_AHEAD);
        totals[i][chain] = vec_fma(bytes_dot(bytes_magnitude(w), bytes_signed(of_x, w)),
                                   spread_scales(products[i] + at), totals[i][chain]);
    }
}

/* The totals of PLAIN_ROWS rows, `apart` rows from each other, as sum_row_of() makes them. */
MGLU_INLINE void sum_plain_rows(const struct mglu_cpu_sums *job, int32_t r, int32_t apart, mglu_dtype dtype)
{
    const int64_t groups = job->matrix->groups;
    float products[PLAIN_ROWS][SCALES + VEC_LANES];
    const char *weights[PLAIN_ROWS];
    vec totals[PLAIN_ROWS][CHAINS];

    for (int i = 0; i < PLAIN_ROWS; i++)
        totals[i][0] = totals[i][1] = vec_zero();
    for (int64_t group = 0; group < groups; group += SCALES) {
        const int64_t count = groups - group < SCALES ? groups - group : SCALES;
        const char *x = mglu_cpu_quants(job->x, groups) + group * MGLU_GROUP_COLUMNS;
        int64_t at = 0;
        MGLU_UNROLL
        for (int i = 0; i < PLAIN_ROWS; i++) {
            const struct weight_row row = row_from(job->matrix, job->first_row + r + i * apart, group, dtype);
            weights[i] = row.weights;
            multiply_scales(row.scales, (const float *)job->x + group, count, products[i]);
        }
        for (; at + CHAINS <= count; at += CHAINS) {
            add_plain(weights, x, products, at, dtype, 0, totals);
            add_plain(weights, x, products, at + 1, dtype, 1, totals);
        }
        if (at < count)
            add_plain(weights, x, products, at, dtype, 0, totals);
    }
    for (int i = 0; i < PLAIN_ROWS; i++)
        job->totals[r + i * apart] = vec_reduce(vec_add(totals[i][0], totals[i][1]));
}

#include "passes.h"

/* One call. Some machines bring in several streams faster than one: plain rows of one token are read side by side. */
MGLU_INLINE void sum_int8(const struct mglu_cpu_sums *jobs, mglu_dtype dtype)
{
    const int side_by_side = BYTE_GROUPS == 1 && PLAIN_ROWS > 1 && jobs->n == 0 && jobs->tokens == 1;
    const int32_t apart = side_by_side ? jobs->rows / PLAIN_ROWS : 0;

    for (int32_t r = 0; r < apart; r++)
        sum_plain_rows(jobs, r, apart, dtype);
    sum_rows(jobs, apart * PLAIN_ROWS, dtype);
}

static void KERNEL(int8_q8_0)(const struct mglu_cpu_sums *jobs)
{
    sum_int8(jobs, MGLU_DTYPE_Q8_0);
}

static void KERNEL(int8_q4_0)(const struct mglu_cpu_sums *jobs)
{
    sum_int8(jobs, MGLU_DTYPE_Q4_0);
}

const struct mglu_cpu_int8 KERNEL(int8) = {
    .round_x = KERNEL(round_x),
    .sums = {[MGLU_DTYPE_Q8_0] = KERNEL(int8_q8_0), [MGLU_DTYPE_Q4_0] = KERNEL(int8_q4_0)},
};

#endif
