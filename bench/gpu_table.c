/* SPDX-License-Identifier: MIT */
/*
 * mglu-gpu-table OUT FIGURES: the results so far of a run of the GPU report kit, as text. OUT is the folder that the
 * run writes to; FIGURES is bench/figures.json, the expected values.
 */
#include "tools/common/report.h"

#include <dirent.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Measurements with one token; the others are only in the files. */
static const char *const measured[] = {"cold", "warm", "opencl"};

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "";
}

static bool is_text(const json_t *object, const char *key, const char *wanted)
{
    return strcmp(text_of(object, key), wanted) == 0;
}

static bool is_same(const json_t *a, const json_t *b, const char *key)
{
    return json_equal(json_object_get(a, key), json_object_get(b, key)) != 0;
}

/** A number, or blanks if it is null. */
static void print_number(int width, int decimals, const json_t *value)
{
    if (json_is_number(value))
        printf(" %*.*f", width, decimals, json_number_value(value));
    else
        printf(" %*s", width, "");
}

/** One line of a file in OUT/steps. */
static void print_step(const char *folder, const char *name)
{
    char path[4096], line[512];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    json_t *step = json_load_file(path, 0, NULL);
    if (!step)
        return;
    snprintf(line, sizeof line, "  %-9s %4d s  %-12s %s", text_of(step, "state"),
             (int)json_integer_value(json_object_get(step, "seconds")), text_of(step, "step"), text_of(step, "said"));
    report_clean(line);
    puts(line);
    json_decref(step);
}

static int is_json(const struct dirent *entry)
{
    const size_t length = strlen(entry->d_name);
    return length > 5 && strcmp(entry->d_name + length - 5, ".json") == 0;
}

/** Sorted: their names begin with the number of the step. */
static void print_steps(const char *out)
{
    char folder[2048];
    struct dirent **entries;
    snprintf(folder, sizeof folder, "%s/steps", out);
    const int count = scandir(folder, &entries, is_json, alphasort);
    for (int i = 0; i < count; i++) {
        print_step(folder, entries[i]->d_name);
        free(entries[i]);
    }
    if (count >= 0)
        free(entries);
}

/** Whether an expected value is for a device, and for the shape and regime of a row. */
static bool is_about(const json_t *expected, const json_t *row, const char *device)
{
    return strstr(device, text_of(expected, "device")) && is_same(expected, row, "d") && is_same(expected, row, "h") &&
           (!json_object_get(expected, "regime") || is_same(expected, row, "regime"));
}

static const json_t *find_expected(const json_t *figures, const char *source, const json_t *row, const char *device)
{
    const json_t *expected;
    size_t i;
    json_array_foreach(json_object_get(figures, "rows"), i, expected)
    {
        if (is_text(expected, "source", source) && is_about(expected, row, device))
            return json_object_get(expected, "us");
    }
    return NULL;
}

/** The time of another implementation for the same problem, in the same rounds. */
static const json_t *find_peer(const json_t *rows, const json_t *row, const char *what)
{
    const json_t *other;
    size_t i;
    json_array_foreach(rows, i, other)
    {
        if (!is_same(other, row, "backend") && is_text(other, "what", what) && is_same(other, row, "d") &&
            is_same(other, row, "h") && is_same(other, row, "batch") && is_same(other, row, "regime"))
            return json_object_get(other, "median_us");
    }
    return NULL;
}

static void print_heading(const json_t *row, const json_t *figures)
{
    const char *source;
    json_t *about;
    printf("\n%dx%d, %s, %s", (int)json_integer_value(json_object_get(row, "d")),
           (int)json_integer_value(json_object_get(row, "h")), text_of(row, "regime"), text_of(row, "backend"));
    if (json_is_number(json_object_get(row, "read_gbps")))
        printf(", a copy moves %.0f GB/s", json_number_value(json_object_get(row, "read_gbps")));
    printf("\n  %4s %9s %8s %7s %9s", "n_m", "us", "of copy", "x GLU", "cuBLAS");
    json_object_foreach(json_object_get(figures, "sources"), source, about) printf(" %9s", source);
    putchar('\n');
}

static void print_row(const json_t *rows, const json_t *row, const json_t *figures, const char *device)
{
    const int masks = (int)json_integer_value(json_object_get(row, "n_masks"));
    const char *source;
    json_t *about;
    char key[16];
    snprintf(key, sizeof key, "%d", masks);
    printf("  %4d", masks);
    print_number(9, 1, json_object_get(row, "median_us"));
    print_number(8, 2, json_object_get(row, "fraction_of_read_bandwidth"));
    print_number(7, 2, json_object_get(row, "ratio_vs_glu"));
    print_number(9, 1, masks ? NULL : find_peer(rows, row, "glu"));
    json_object_foreach(json_object_get(figures, "sources"), source, about)
        print_number(9, 1, json_object_get(find_expected(figures, source, row, device), key));
    if (!json_is_number(json_object_get(row, "median_us")))
        printf("  %s%s", text_of(row, "skipped"), text_of(row, "failed"));
    putchar('\n');
}

/** The library's own rows of a report, with a heading where shape or regime change. */
static void print_report(const json_t *report, const json_t *figures)
{
    const json_t *rows = json_object_get(report, "rows"), *device = json_object_get(report, "device"), *last = NULL,
                 *row;
    size_t i;
    json_array_foreach(rows, i, row)
    {
        if (!is_same(row, device, "backend") || json_integer_value(json_object_get(row, "batch")) != 1)
            continue;
        if (!last || !is_same(last, row, "d") || !is_same(last, row, "h") || !is_same(last, row, "regime"))
            print_heading(row, figures);
        print_row(rows, row, figures, text_of(device, "name"));
        last = row;
    }
}

static void print_reports(const char *out, const json_t *figures)
{
    for (size_t i = 0; i < sizeof measured / sizeof measured[0]; i++) {
        char path[2048];
        snprintf(path, sizeof path, "%s/%s.json", out, measured[i]);
        json_t *report = json_load_file(path, 0, NULL);
        if (report && i == 0)
            printf("\n%s, %s\n", text_of(json_object_get(report, "device"), "name"),
                   text_of(json_object_get(report, "device"), "details"));
        print_report(report, figures);
        json_decref(report);
    }
}

/** The sources of the columns of expected values. */
static void print_sources(const json_t *figures)
{
    const char *source;
    json_t *about;
    putchar('\n');
    json_object_foreach(json_object_get(figures, "sources"), source, about)
        printf("  %s: %s\n", source, json_string_value(about));
}

int main(int argc, char **argv)
{
    json_error_t error;
    report_command("mglu-gpu-table");
    report_check_stdout();
    if (argc != 3) {
        report_failure("usage: mglu-gpu-table OUT FIGURES");
        return EXIT_USAGE;
    }
    json_t *figures = json_load_file(argv[2], 0, &error);
    if (!figures) {
        report_failure("%s: line %d: %s", argv[2], error.line, error.text);
        return EXIT_FAILED;
    }
    print_steps(argv[1]);
    print_reports(argv[1], figures);
    print_sources(figures);
    json_decref(figures);
    return EXIT_SUCCESS;
}
