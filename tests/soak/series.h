/* SPDX-License-Identifier: MIT */
#ifndef MGLU_SOAK_SERIES_H
#define MGLU_SOAK_SERIES_H

#include <jansson.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/** What the process holds, recorded again and again, and whether it grows. */

enum measure {
    MEASURE_HEAP,     /**< bytes that malloc() has given out */
    MEASURE_RESIDENT, /**< bytes of memory in use, as the system counts them */
    MEASURE_MAPPINGS,
    MEASURE_DESCRIPTORS,
    MEASURE_THREADS,
    MEASURES
};

struct sample {
    double seconds;
    uint64_t rounds;
    int64_t values[MEASURES];
};

struct series {
    struct sample *samples;
    size_t count, capacity;
};

/** Bytes that malloc() has given out, tables of its own included; 0 where a sanitizer replaces it. */
int64_t heap_bytes(void);

void series_add(struct series *series, double seconds, uint64_t rounds);
void series_free(struct series *series);

/** What a measure grew by in the second half of the series: the slope of the straight line through it, times its time.
 */
double series_growth(const struct series *series, enum measure measure);

/** The growth that counts as flat. */
double series_limit(const struct series *series, enum measure measure);

/** Prints a line for each measure; whether all are flat. */
bool series_judge(const struct series *series, FILE *stream);

/** Growth and limits, and all samples; NULL when memory runs out. */
json_t *series_json(const struct series *series);

#endif
