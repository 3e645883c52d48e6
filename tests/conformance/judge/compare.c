/* SPDX-License-Identifier: MIT */
#include "judge/compare.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

float element_of(const struct rows *rows, mglu_dtype dtype, int64_t row, int64_t column)
{
    float value = NAN;

    if (mglu_convert(rows_at(rows, row) + (size_t)column * rows->element, dtype, &value, MGLU_DTYPE_F32, 1) != MGLU_OK)
        exit(EXIT_FAILURE);
    return value;
}

/* The smallest magnitude that rounds to infinity. */
static double overflow_threshold(mglu_dtype dtype)
{
    switch (dtype) {
    case MGLU_DTYPE_F16:
        return 65520;
    case MGLU_DTYPE_BF16:
        return 0x1.ffp127;
    default:
        return 0x1.ffffffp127;
    }
}

/* The exact result in y's dtype. It is a small integer over a power of two: conversion through f32 is exact. */
static double rounded(double want, mglu_dtype dtype)
{
    float value = (float)want, result;
    unsigned char stored[sizeof(float)];

    if (mglu_convert(&value, MGLU_DTYPE_F32, stored, dtype, 1) != MGLU_OK ||
        mglu_convert(stored, dtype, &result, MGLU_DTYPE_F32, 1) != MGLU_OK)
        exit(EXIT_FAILURE);
    return (double)result;
}

/* The error of an element divided by its tolerance; above 1, or infinite, it is wrong. */
static double error_ratio(const struct expectation *expected, int64_t at, double got)
{
    double want = expected->want[at], tolerance = expected->tolerance[at];
    double threshold = overflow_threshold(expected->dtype);

    if (isnan(want) || isnan(got))
        return isnan(want) && isnan(got) ? 0 : INFINITY;
    if (expected->exact)
        return got == rounded(want, expected->dtype) ? 0 : INFINITY;
    if (isinf(got))
        return (got > 0) == (want > 0) && fabs(want) + tolerance >= threshold ? 0 : INFINITY;
    if (got == want)
        return 0;
    return isfinite(tolerance) && isfinite(want) ? fabs(got - want) / tolerance : INFINITY;
}

/* What a comparison found. */
struct findings {
    int64_t bad_count, worst_row, worst_column;
    int64_t first_row, last_row, first_column, last_column;
    double worst, worst_error;
    unsigned char *bad;
};

static void note_bad(struct findings *findings, int64_t row, int64_t column)
{
    if (findings->bad_count++ == 0) {
        findings->first_row = row;
        findings->first_column = findings->last_column = column;
    }
    findings->last_row = row;
    if (column < findings->first_column)
        findings->first_column = column;
    if (column > findings->last_column)
        findings->last_column = column;
}

/* Of two infinite ratios the one with the larger error is worse; NaN is the worst. */
static void compare_element(const struct expectation *expected, struct findings *findings, int64_t row, int64_t column,
                            double got, struct outcome *outcome)
{
    int64_t at = row * expected->columns + column;
    double ratio = error_ratio(expected, at, got), error = fabs(got - expected->want[at]);

    outcome_add_rho(outcome, ratio);
    if (!(ratio <= 1)) {
        note_bad(findings, row, column);
        findings->bad[at] = 1;
    }
    if (isnan(error))
        error = ratio > 1 ? INFINITY : 0;
    if (ratio > findings->worst || (ratio == findings->worst && error > findings->worst_error)) {
        findings->worst = ratio;
        findings->worst_error = error;
        findings->worst_row = row;
        findings->worst_column = column;
    }
}

void draw_map(FILE *stream, const unsigned char *bad, int64_t rows, int64_t columns, int64_t row, int64_t column)
{
    int64_t top = row < 4 ? 0 : row - 4, left = column < 32 ? 0 : column - 32;

    fprintf(stream, "  map of rows %lld.. and columns %lld.. (x: wrong, .: right)\n", (long long)top, (long long)left);
    for (int64_t r = top; r < rows && r < top + 9; r++) {
        fprintf(stream, "  %6lld ", (long long)r);
        for (int64_t c = left; c < columns && c < left + 64; c++)
            fputc(bad[r * columns + c] ? 'x' : '.', stream);
        fputc('\n', stream);
    }
}

/* How many elements are wrong, and where. */
static void describe_spread(FILE *stream, const struct expectation *expected, const struct findings *findings)
{
    int64_t count = expected->rows * expected->columns;

    if (findings->bad_count == count) {
        fprintf(stream, "\n  all %lld elements are wrong\n", (long long)count);
        return;
    }
    fprintf(stream, "\n  %lld of %lld elements are wrong, in rows %lld to %lld and columns %lld to %lld\n",
            (long long)findings->bad_count, (long long)count, (long long)findings->first_row,
            (long long)findings->last_row, (long long)findings->first_column, (long long)findings->last_column);
    draw_map(stream, findings->bad, expected->rows, expected->columns, findings->worst_row, findings->worst_column);
}

static void describe(FILE *stream, const struct expectation *expected, const struct rows *y,
                     const struct findings *findings)
{
    int64_t row = findings->worst_row, column = findings->worst_column, at = row * expected->columns + column;
    double got = (double)element_of(y, expected->dtype, row, column), want = expected->want[at];
    const unsigned char *bytes = rows_at(y, row) + (size_t)column * y->element;
    bool untouched = true;

    for (size_t i = 0; i < y->element; i++)
        untouched = untouched && bytes[i] == ROWS_GAP;
    fprintf(stream, "%s[%lld][%lld] = %.9g, want %.9g", expected->name ? expected->name : "y", (long long)row,
            (long long)column, got, expected->exact ? rounded(want, expected->dtype) : want);
    if (untouched)
        fprintf(stream, " (never written)");
    else if (expected->exact)
        fprintf(stream, " exactly");
    else if (isfinite(findings->worst))
        fprintf(stream, ", error %.3g = %.3g times the tolerance %.3g", fabs(got - want), findings->worst,
                expected->tolerance[at]);
    describe_spread(stream, expected, findings);
}

static void report(const struct expectation *expected, const struct rows *y, const struct findings *findings,
                   struct outcome *outcome)
{
    char text[2048] = "";
    FILE *stream = fmemopen(text, sizeof text - 1, "w");

    if (!stream)
        exit(EXIT_FAILURE);
    describe(stream, expected, y, findings);
    fclose(stream);
    outcome_set(outcome, VERDICT_FAIL, "%s", text);
}

void compare_rows(const struct expectation *expected, const struct rows *y, struct outcome *outcome)
{
    struct findings findings = {.worst = -1};

    findings.bad = calloc((size_t)(expected->rows * expected->columns + 1), 1);
    if (!findings.bad)
        exit(EXIT_FAILURE);
    for (int64_t row = 0; row < expected->rows; row++)
        for (int64_t column = 0; column < expected->columns; column++)
            compare_element(expected, &findings, row, column, (double)element_of(y, expected->dtype, row, column),
                            outcome);
    if (findings.bad_count)
        report(expected, y, &findings, outcome);
    free(findings.bad);
}

const char *expectation_vacuous(const struct expectation *expected, bool real)
{
    int64_t count = expected->rows * expected->columns, zeros = 0, vague = 0;

    for (int64_t i = 0; i < count; i++) {
        zeros += expected->want[i] == 0;
        vague += expected->want[i] != 0 && expected->tolerance[i] > fabs(expected->want[i]) / 4;
    }
    if (zeros * 2 > count)
        return "more than half of the expected elements are 0";
    if (real && !expected->exact && vague * 10 > count)
        return "more than a tenth of the elements have a tolerance above a quarter of their value";
    return NULL;
}
