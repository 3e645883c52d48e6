/* SPDX-License-Identifier: MIT */
#include "soak.h"
#include "series.h"
#include "tools/common/arguments.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* Uses the library in every way, again and again, and tells whether the process grows. */

struct options {
    int64_t minutes, rounds, interval;
    const char *json;
};

/* Those that compute on the host may be used by many threads and after fork(); others need their driver's leave. */
enum kind { EVERY_DEVICE, EVERY_HOST_DEVICE, ONE_HOST_DEVICE };

static const struct activity {
    const char *name;
    enum kind kind;
    void (*run)(struct soak *soak, size_t device);
} activities[] = {
    {"device", EVERY_DEVICE, soak_device}, /* first: it has the first result of each specimen */
    {"training", EVERY_HOST_DEVICE, soak_training}, {"files", ONE_HOST_DEVICE, soak_files},
    {"errors", ONE_HOST_DEVICE, soak_errors},       {"threads", ONE_HOST_DEVICE, soak_threads},
    {"fork", ONE_HOST_DEVICE, soak_fork},
};

enum { ACTIVITIES = sizeof activities / sizeof activities[0] };

/* Bytes of the heap by which it grew, in all rounds but the first of each specimen on each device. */
struct blame {
    int64_t bytes[ACTIVITIES][SOAK_DEVICES];
};

static void add_device(struct soak *soak, const char *backend, const char *max_isa)
{
    struct soak_device *device = &soak->devices[soak->device_count++];

    require(soak->device_count <= SOAK_DEVICES);
    device->has_cap = max_isa[0] != '\0';
    snprintf(device->backend, sizeof device->backend, "%s", backend);
    snprintf(device->max_isa, sizeof device->max_isa, "%s", max_isa);
}

/* Every available backend, CPUs with each of their instruction sets; those with host memory first. */
static void find_devices(struct soak *soak, mglu_context *context, size_t count, bool host_memory)
{
    mglu_device_info info = {.struct_size = sizeof info};

    for (size_t i = 0; i < count; i++) {
        require_ok(mglu_device_get_info(mglu_device_at(context, i), &info));
        if (!info.available || !info.host_memory == host_memory)
            continue;
        if (!info.instruction_sets[0])
            add_device(soak, info.backend, "");
        for (size_t k = 0; info.instruction_sets[k]; k++)
            add_device(soak, info.backend, info.instruction_sets[k]);
    }
}

/* Returns the number of devices with host memory. */
static size_t open_soak(struct soak *soak)
{
    const char *parent = getenv("TMPDIR");
    mglu_context *context;
    size_t count, on_host;

    *soak = (struct soak){0};
    snprintf(soak->folder, sizeof soak->folder, "%.40s/mglu-soak-XXXXXX", parent && *parent ? parent : "/tmp");
    require(mkdtemp(soak->folder) != NULL);
    /* A driver's compiler keeps some memory of each program (LLVM 15 the name of its file), so that each compiles once.
     */
    require(setenv("MGLU_CACHE_DIR", soak->folder, true) == 0);
    soak_make_threads();
    for (size_t i = 0; i < SPECIMENS; i++)
        specimen_make(&soak->specimens[i], i);
    for (size_t i = 0; i < TRAININGS; i++)
        training_make(&soak->trainings[i], i);
    require_ok(mglu_context_create(NULL, &context));
    require_ok(mglu_device_count(context, &count));
    find_devices(soak, context, count, true);
    on_host = soak->device_count;
    find_devices(soak, context, count, false);
    mglu_context_destroy(&context);
    return on_host;
}

static void remove_folder(const char *path)
{
    DIR *folder = opendir(path);
    const struct dirent *entry;

    require(folder != NULL);
    while ((entry = readdir(folder)))
        unlinkat(dirfd(folder), entry->d_name, 0); /* "." and ".." stay */
    closedir(folder);
    require(rmdir(path) == 0);
}

static void close_soak(struct soak *soak)
{
    for (size_t i = 0; i < SPECIMENS; i++) {
        specimen_free(&soak->specimens[i]);
        for (size_t k = 0; k < soak->device_count; k++)
            free(soak->devices[k].want[i]);
    }
    for (size_t i = 0; i < TRAININGS; i++) {
        training_free(&soak->trainings[i]);
        for (size_t k = 0; k < soak->device_count; k++)
            free(soak->devices[k].trained[i]);
    }
    remove_folder(soak->folder);
}

static void run_activity(struct soak *soak, size_t activity, size_t device, struct blame *blame)
{
    const int64_t before = heap_bytes();

    activities[activity].run(soak, device);
    if (soak->round >= SPECIMENS)
        blame->bytes[activity][device] += heap_bytes() - before;
}

static void run_round(struct soak *soak, size_t on_host, struct blame *blame)
{
    for (size_t i = 0; i < ACTIVITIES; i++)
        if (activities[i].kind == ONE_HOST_DEVICE)
            run_activity(soak, i, (size_t)(soak->round / SPECIMENS) % on_host, blame);
        else
            for (size_t k = 0; k < (activities[i].kind == EVERY_DEVICE ? soak->device_count : on_host); k++)
                run_activity(soak, i, k, blame);
    soak->round++;
}

static double now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

/* Samples each interval, or, where rounds are counted, after each of them. */
static void run(struct soak *soak, size_t on_host, const struct options *options, struct series *series,
                struct blame *blame)
{
    const double begin = now(), end = begin + 60.0 * (double)options->minutes;
    double next = begin;

    while (options->rounds ? soak->round < (uint64_t)options->rounds : now() < end) {
        run_round(soak, on_host, blame);
        if (!options->rounds && now() < next)
            continue;
        next = now() + (double)options->interval;
        series_add(series, now() - begin, soak->round);
    }
}

static void print_blame(const struct soak *soak, const struct blame *blame)
{
    for (size_t i = 0; i < ACTIVITIES; i++)
        for (size_t k = 0; k < soak->device_count; k++)
            if (blame->bytes[i][k])
                printf("  %s, %s %s: the heap changed by %lld bytes\n", activities[i].name, soak->devices[k].backend,
                       soak->devices[k].max_isa, (long long)blame->bytes[i][k]);
}

static json_t *devices_json(const struct soak *soak)
{
    json_t *devices = json_array();

    for (size_t i = 0; i < soak->device_count; i++)
        json_array_append_new(devices, json_sprintf("%s%s%s", soak->devices[i].backend,
                                                    soak->devices[i].has_cap ? " " : "", soak->devices[i].max_isa));
    return devices;
}

static bool write_json(const char *path, const struct soak *soak, const struct series *series, bool flat)
{
    json_t *root = json_pack("{s: s, s: s, s: o, s: I, s: b, s: o}", "version", mglu_version(), "build",
                             mglu_build_info(), "devices", devices_json(soak), "rounds", (json_int_t)soak->round,
                             "flat", flat, "series", series_json(series));
    const bool written = root && json_dump_file(root, path, JSON_REAL_PRECISION(9)) == 0;

    json_decref(root);
    if (!written)
        perror(path);
    return written;
}

enum { KEY_MINUTES = 256, KEY_ROUNDS, KEY_INTERVAL, KEY_JSON };

static const struct argp_option argp_options[] = {
    {"minutes", KEY_MINUTES, "N", 0, "run for N minutes (default 60)", 0},
    {"rounds", KEY_ROUNDS, "N", 0, "run N rounds instead, and record after each", 0},
    {"interval", KEY_INTERVAL, "N", 0, "record every N seconds (default 10)", 0},
    {"json", KEY_JSON, "FILE", 0, "write the series", 0},
    {0},
};

static error_t parse(int key, char *argument, struct argp_state *state)
{
    struct options *options = state->input;

    switch (key) {
    case KEY_MINUTES:
        options->minutes = arguments_number(state, "--minutes", argument, 1, 1 << 20);
        return 0;
    case KEY_ROUNDS:
        options->rounds = arguments_number(state, "--rounds", argument, 4, INT32_MAX);
        return 0;
    case KEY_INTERVAL:
        options->interval = arguments_number(state, "--interval", argument, 1, 3600);
        return 0;
    case KEY_JSON:
        options->json = argument;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

int main(int argc, char **argv)
{
    static const char summary[] =
        "Opens contexts, makes layers, computes on every device, reads and packs files, provokes errors, makes threads "
        "and forks, again and again, and records memory, descriptors and threads.\v"
        "The exit status is 0 where every result had the bits of the first and nothing grew in the second half.";
    const struct argp parser = {.options = argp_options, .parser = parse, .doc = summary};
    struct options options = {.minutes = 60, .interval = 10};
    struct series series = {0};
    struct blame blame = {0};
    struct soak soak;
    size_t on_host;
    bool good;

    if (argp_parse(&parser, argc, argv, 0, NULL, &options) != 0)
        return 2;
    on_host = open_soak(&soak);
    run(&soak, on_host, &options, &series, &blame);
    printf("%llu rounds on %zu devices\n", (unsigned long long)soak.round, soak.device_count);
    good = series_judge(&series, stdout);
    print_blame(&soak, &blame);
    if (options.json)
        good &= write_json(options.json, &soak, &series, good);
    series_free(&series);
    close_soak(&soak);
    printf("%s\n", good ? "flat" : "not flat");
    return good ? EXIT_SUCCESS : EXIT_FAILURE;
}
