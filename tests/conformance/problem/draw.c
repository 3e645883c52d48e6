/* SPDX-License-Identifier: MIT */
#include "problem/fills.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/*
 * How numbers are drawn. They are chosen so that an error changes the expected results visibly: gates are of the order
 * of 1 and mostly positive (ReLU), and no sum hides the effect of an error by rounding.
 */

static float power_of_two(double exponent)
{
    return (float)exp2(round(exponent));
}

static bool chance(uint64_t bits, double probability)
{
    return (double)(bits & 0xffff) < probability * 65536;
}

/* How often a number is positive: gates then are in about three of four cases, at any h. */
static double positive_share(const struct grid_case *test, enum role role)
{
    if (test->fill >= FILL_WIDE && (role == ROLE_X || role == ROLE_WEIGHT))
        return 0.875; /* with few elements a single negative one may decide the sign of the sum */
    if (role == ROLE_X || role == ROLE_GATE_BIAS)
        return 0.75;
    if (role == ROLE_WEIGHT)
        return 0.5 + fmin(0.25, 1.6 / sqrt((double)test->h));
    return 0.5;
}

/* What a weight is multiplied with, so that sums over h columns are of the order of 1. */
static float weight_scale(const struct grid_case *test)
{
    double h = (double)test->h;

    switch (test->fill) {
    case FILL_POSITIVE:
        return power_of_two(fmin(0, 4 - log2(h)));
    case FILL_WIDE:
        return power_of_two(-3 - 0.5 * log2(h) - fmin(5, log2(h)));
    default:
        return power_of_two(fmin(0, 2 - 0.5 * log2(h)));
    }
}

static float role_scale(const struct grid_case *test, enum role role)
{
    if (role == ROLE_WEIGHT)
        return weight_scale(test);
    if (role == ROLE_ROUTER)
        return power_of_two(fmin(0, 2 - 0.5 * log2((double)test->h)) - (test->fill == FILL_WIDE ? 5 : 0));
    if (role == ROLE_DOWN)
        return power_of_two(-0.5 * log2((double)test->d));
    return 1;
}

/* 2^-6 to 2^7, every power of two equally often. */
static float wide_magnitude(uint64_t bits)
{
    return ldexpf(1 + (float)(bits >> 41) * 0x1p-23f, (int)(bits >> 16 & 0xffff) % 13 - 6);
}

static float unit_magnitude(uint64_t bits)
{
    return (float)(bits >> 40) * 0x1p-24f;
}

static float draw_real(const struct grid_case *test, enum role role, double positive, float scale,
                       struct random *random)
{
    uint64_t bits = random_u64(random);
    bool wide = test->fill == FILL_WIDE && (role == ROLE_WEIGHT || role == ROLE_X);
    float magnitude = scale * (wide ? wide_magnitude(bits) : unit_magnitude(bits));

    return test->fill == FILL_POSITIVE || chance(bits, positive) ? magnitude : -magnitude;
}

static float draw_integer(double positive, int largest, struct random *random)
{
    uint64_t bits = random_u64(random);
    float magnitude = (float)(1 + (bits >> 32) % (uint64_t)largest);

    return chance(bits, positive) ? magnitude : -magnitude;
}

/* Whether products must be few and small because sums are accumulated, or the result is stored, in few bits. */
static bool is_narrow(const struct grid_case *test)
{
    return test->weight != MGLU_DTYPE_F32 || test->x != MGLU_DTYPE_F32 || test->y != MGLU_DTYPE_F32;
}

/* A row that is 0 except in its first and last columns and some between them. */
static void draw_sparse(float *row, int64_t columns, int nonzeros, int largest, double positive, struct random *random)
{
    memset(row, 0, (size_t)columns * sizeof *row);
    for (int i = 0; i < nonzeros; i++) {
        int64_t at = i == 0 ? 0 : i == 1 ? columns - 1 : (int64_t)(random_u64(random) % (uint64_t)columns);
        row[at] = draw_integer(positive, largest, random);
    }
}

/*
 * Integers so small that every sum is exact in f32, in any order: x and the down-projection are sparse, which bounds
 * gate and value, their product, its sum over 16 masks with p up to 2, and the sum of that.
 */
static void draw_exact_row(const struct grid_case *test, enum role role, int64_t columns, float *row,
                           struct random *random)
{
    double positive = positive_share(test, role);

    if (columns > 0 && role == ROLE_X)
        draw_sparse(row, columns,
                    is_narrow(test) ? 6
                    : test->out     ? 16
                                    : 64,
                    is_narrow(test) || test->out ? 1 : 3, positive, random);
    else if (columns > 0 && role == ROLE_DOWN)
        draw_sparse(row, columns, 6, 2, positive, random);
    else
        for (int64_t i = 0; i < columns; i++)
            row[i] = draw_integer(positive, role == ROLE_OTHER ? 8 : 2, random);
}

float *draw_matrix(const struct grid_case *test, enum role role, int64_t rows, int64_t columns, struct random *random)
{
    float *numbers = malloc((size_t)(rows * columns + 1) * sizeof *numbers);
    double positive = positive_share(test, role);
    float scale = role_scale(test, role);

    if (!numbers)
        exit(EXIT_FAILURE);
    for (int64_t r = 0; r < rows; r++) {
        if (test->fill >= FILL_EXACT)
            draw_exact_row(test, role, columns, numbers + r * columns, random);
        else
            for (int64_t i = 0; i < columns; i++)
                numbers[r * columns + i] = draw_real(test, role, positive, scale, random);
    }
    return numbers;
}

/*
 * Neither gate nor value may be empty: in three of four rows the first and the last column, where x is never 0, belong
 * to different sides; a single column belongs to the side without a bias.
 */
static void make_sides_nonempty(const struct grid_case *test, unsigned char *row, struct random *random)
{
    if (test->h == 1 && (test->bias == BIAS_GATE || test->bias == BIAS_VALUE))
        row[0] = test->bias == BIAS_VALUE;
    else if (test->h > 1 && chance(random_u64(random), 0.75))
        row[test->h - 1] = !row[0];
}

void draw_masks(const struct grid_case *test, struct rows *masks, struct random *random)
{
    for (int64_t r = 0; r < masks->count; r++) {
        unsigned char *row = rows_at(masks, r);
        uint64_t bits = 0;

        for (int64_t i = 0; i < masks->columns; i++) {
            bits = i % 64 ? bits >> 1 : random_u64(random);
            row[i] = bits & 1;
        }
        make_sides_nonempty(test, row, random);
    }
}
