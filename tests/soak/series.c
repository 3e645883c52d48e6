/* SPDX-License-Identifier: MIT */
#include "series.h"

#include "tests/stress/require.h"

#include <dirent.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/*
 * The heap is exact where glibc keeps no freed memory per thread (glibc.malloc.tcache_count=0): then one block lost in
 * each round is 32 bytes or more. Resident memory also depends on how the system and malloc() reuse pages, and is
 * judged less strictly: it is there for memory that does not come from malloc().
 */
static const struct {
    const char *name;
    double limit, limit_per_round;
} measures[MEASURES] = {
    [MEASURE_HEAP] = {"heap_bytes", 1024, 4}, [MEASURE_RESIDENT] = {"resident_bytes", 1 << 20, 16},
    [MEASURE_MAPPINGS] = {"mappings", 4, 0},  [MEASURE_DESCRIPTORS] = {"descriptors", 0.5, 0},
    [MEASURE_THREADS] = {"threads", 0.5, 0},
};

/* Sanitizers keep freed memory, and find leaks themselves. */
#ifdef SOAK_WITH_SANITIZER
enum { WITH_SANITIZER = 1, FIRST_JUDGED = MEASURE_DESCRIPTORS };
#else
enum { WITH_SANITIZER = 0, FIRST_JUDGED = MEASURE_HEAP };
#endif

/* There the process has the memory of the emulator too, which keeps the code that it has translated. */
#ifdef SOAK_IN_EMULATOR
enum { IN_EMULATOR = 1 };
#else
enum { IN_EMULATOR = 0 };
#endif

int64_t heap_bytes(void)
{
    struct mallinfo2 info;

    if (WITH_SANITIZER)
        return 0;
    info = mallinfo2();
    return (int64_t)(info.uordblks + info.hblkhd);
}

static int64_t count_lines(const char *path)
{
    FILE *file = fopen(path, "re");
    int64_t lines = 0;
    int character;

    require(file != NULL);
    while ((character = getc(file)) != EOF)
        lines += character == '\n';
    fclose(file);
    return lines;
}

/* Without "." and "..", and the descriptor that reads the folder. */
static int64_t count_entries(const char *path, int64_t others)
{
    DIR *folder = opendir(path);

    require(folder != NULL);
    while (readdir(folder))
        others++;
    closedir(folder);
    return others;
}

static int64_t resident_bytes(void)
{
    FILE *file = fopen("/proc/self/statm", "re");
    long size, resident;

    require(file != NULL);
    require(fscanf(file, "%ld %ld", &size, &resident) == 2);
    fclose(file);
    return (int64_t)resident * sysconf(_SC_PAGESIZE);
}

void series_add(struct series *series, double seconds, uint64_t rounds)
{
    if (series->count == series->capacity) {
        series->capacity = 2 * series->capacity + 64;
        series->samples = realloc(series->samples, series->capacity * sizeof *series->samples);
        require(series->samples != NULL);
    }
    series->samples[series->count++] = (struct sample){
        .seconds = seconds,
        .rounds = rounds,
        .values = {[MEASURE_HEAP] = heap_bytes() - (int64_t)(series->capacity * sizeof *series->samples),
                   [MEASURE_RESIDENT] = resident_bytes(),
                   [MEASURE_MAPPINGS] = count_lines("/proc/self/maps"),
                   [MEASURE_DESCRIPTORS] = count_entries("/proc/self/fd", -3),
                   [MEASURE_THREADS] = count_entries("/proc/self/task", -2)},
    };
}

void series_free(struct series *series)
{
    free(series->samples);
    *series = (struct series){0};
}

/* Slope of the least-squares line through the values over the rounds, from sample `first` on. */
static double slope(const struct series *series, size_t first, enum measure measure)
{
    double x = 0, y = 0, xx = 0, xy = 0, count = (double)(series->count - first);

    for (size_t i = first; i < series->count; i++) {
        x += (double)series->samples[i].rounds / count;
        y += (double)series->samples[i].values[measure] / count;
    }
    for (size_t i = first; i < series->count; i++) {
        const double from_mean = (double)series->samples[i].rounds - x;
        xx += from_mean * from_mean;
        xy += from_mean * ((double)series->samples[i].values[measure] - y);
    }
    return xx > 0 ? xy / xx : 0;
}

static double rounds_of_second_half(const struct series *series)
{
    return series->count < 2
               ? 0
               : (double)(series->samples[series->count - 1].rounds - series->samples[series->count / 2].rounds);
}

double series_growth(const struct series *series, enum measure measure)
{
    return slope(series, series->count / 2, measure) * rounds_of_second_half(series);
}

double series_limit(const struct series *series, enum measure measure)
{
    return measures[measure].limit + measures[measure].limit_per_round * rounds_of_second_half(series);
}

bool series_judge(const struct series *series, FILE *stream)
{
    bool flat = series->count >= 4;

    for (int i = FIRST_JUDGED; i < MEASURES && series->count > 0; i++) {
        if (i == MEASURE_RESIDENT && IN_EMULATOR)
            continue;
        const double growth = series_growth(series, i), limit = series_limit(series, i);
        fprintf(stream, "%-14s %12lld first, %12lld middle, %12lld last; second half grew by %.1f, limit %.1f: %s\n",
                measures[i].name, (long long)series->samples[0].values[i],
                (long long)series->samples[series->count / 2].values[i],
                (long long)series->samples[series->count - 1].values[i], growth, limit,
                growth <= limit ? "flat" : "GROWS");
        flat &= growth <= limit;
    }
    return flat;
}

static json_t *samples_json(const struct series *series)
{
    json_t *rows = json_array();

    for (size_t i = 0; i < series->count; i++) {
        const struct sample *sample = &series->samples[i];
        json_t *row = json_pack("[f, I]", sample->seconds, (json_int_t)sample->rounds);
        for (int k = 0; k < MEASURES; k++)
            json_array_append_new(row, json_integer(sample->values[k]));
        json_array_append_new(rows, row);
    }
    return rows;
}

json_t *series_json(const struct series *series)
{
    json_t *columns = json_pack("[s, s]", "seconds", "rounds"), *growth = json_object();

    for (int i = 0; i < MEASURES; i++) {
        json_array_append_new(columns, json_string(measures[i].name));
        json_object_set_new(
            growth, measures[i].name,
            json_pack("{s: f, s: f}", "second_half", series_growth(series, i), "limit", series_limit(series, i)));
    }
    return json_pack("{s: o, s: o, s: o}", "growth", growth, "columns", columns, "samples", samples_json(series));
}
