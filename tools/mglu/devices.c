/* SPDX-License-Identifier: MIT */
#include "commands.h"
#include "tools/common/arguments.h"
#include "tools/common/compute.h"
#include "tools/common/report.h"

#include <argp.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct devices_options {
    const char *backend; /**< NULL: all */
    bool json;
};

static error_t parse(int key, char *argument, struct argp_state *state)
{
    struct devices_options *options = state->input;
    switch (key) {
    case 'b':
        options->backend = argument;
        return 0;
    case 'j':
        options->json = true;
        return 0;
    case ARGP_KEY_ARG:
        argp_error(state, "%s: unexpected operand", argument);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/** All devices, in memory that the caller frees. */
static mglu_device_info *list_devices(mglu_context *context, size_t *count)
{
    if (mglu_device_count(context, count) != MGLU_OK) {
        report_library("devices");
        return NULL;
    }
    mglu_device_info *infos = report_allocate(*count, sizeof *infos);
    for (size_t i = 0; infos && i < *count; i++) {
        infos[i].struct_size = sizeof infos[i];
        if (mglu_device_get_info(mglu_device_at(context, i), &infos[i]) != MGLU_OK) {
            report_library("devices");
            free(infos);
            return NULL;
        }
    }
    return infos;
}

/** The names of a NULL-terminated list; NULL when out of memory. */
static json_t *name_list(const char *const *names)
{
    json_t *list = json_array();
    for (; *names; names++)
        if (json_array_append_new(list, json_string(*names)) != 0) {
            json_decref(list);
            return NULL;
        }
    return list;
}

static bool print_json(const mglu_device_info *infos, size_t count)
{
    json_t *list = json_array();
    bool done = list != NULL;
    for (size_t i = 0; done && i < count; i++)
        done = json_array_append_new(list, json_pack("{s:s, s:s, s:b, s:s, s:I, s:s, s:o}", "backend", infos[i].backend,
                                                     "name", infos[i].name, "available", infos[i].available, "reason",
                                                     infos[i].reason, "memory_bytes", (json_int_t)infos[i].memory_bytes,
                                                     "details", infos[i].details, "instruction_sets",
                                                     name_list(infos[i].instruction_sets))) == 0;
    if (done)
        done = json_dumpf(list, stdout, JSON_INDENT(1)) == 0 && putchar('\n') != EOF;
    json_decref(list);
    return done || report_stdout_failed() || report_failure("JSON: out of memory");
}

static int widest(const mglu_device_info *infos, size_t count, bool of_name)
{
    size_t width = 0;
    for (size_t i = 0; i < count; i++) {
        const size_t length = strlen(of_name ? infos[i].name : infos[i].backend);
        width = length > width ? length : width;
    }
    return (int)width;
}

/** One line per device; a star marks the one that "auto" selects, and a line says so where all are listed. */
static void print_table(const mglu_device_info *infos, size_t count, size_t automatic, bool explained)
{
    const int backends = widest(infos, count, false), names = widest(infos, count, true);
    for (size_t i = 0; i < count; i++) {
        const mglu_device_info *info = &infos[i];
        char line[1024], memory[32] = "";
        if (info->memory_bytes)
            snprintf(memory, sizeof memory, "%.1f GiB  ", (double)info->memory_bytes / (1 << 30));
        snprintf(line, sizeof line, "%c %-*s  %-*s  %s%s", i == automatic ? '*' : ' ', backends, info->backend, names,
                 info->name,
                 info->available ? memory : "unavailable: ", info->available ? info->details : info->reason);
        report_clean(line);
        puts(line);
    }
    if (explained && automatic < count)
        printf("\n* = selected by auto\n");
}

/** Index of the device that "auto" selects; `count` when there is none. */
static size_t find_automatic(mglu_context *context, size_t count)
{
    mglu_device *selected;
    size_t i = 0;
    if (mglu_device_pick(context, "auto", &selected) != MGLU_OK)
        return count;
    while (i < count && mglu_device_at(context, i) != selected)
        i++;
    return i;
}

/** Removes the devices of other backends. Returns how many remain; updates the index `automatic`. */
static size_t filter_backend(mglu_device_info *infos, size_t count, const char *backend, size_t *automatic)
{
    size_t kept = 0, kept_automatic = SIZE_MAX;
    for (size_t i = 0; i < count; i++) {
        if (strcmp(infos[i].backend, backend) != 0)
            continue;
        if (i == *automatic)
            kept_automatic = kept;
        infos[kept++] = infos[i];
    }
    *automatic = kept_automatic;
    return kept;
}

/** Whether a device is available; otherwise reports why not. */
static bool check_available(const mglu_device_info *infos, size_t count, const char *backend)
{
    for (size_t i = 0; i < count; i++)
        if (infos[i].available)
            return true;
    return report_failure("%s: %s", backend, count ? infos[0].reason : "there is no such backend");
}

static bool show(const struct devices_options *options)
{
    mglu_context *context = NULL;
    mglu_device_info *infos = NULL;
    size_t count;
    bool done = compute_context(&context) && (infos = list_devices(context, &count)) != NULL;
    if (done) {
        size_t automatic = find_automatic(context, count);
        if (options->backend)
            count = filter_backend(infos, count, options->backend, &automatic);
        if (options->json)
            done = print_json(infos, count);
        else
            print_table(infos, count, automatic, !options->backend);
    }
    if (done && options->backend)
        done = check_available(infos, count, options->backend);
    free(infos);
    mglu_context_destroy(&context);
    return done;
}

int command_devices(int argc, char **argv)
{
    static const struct argp_option list[] = {
        {"backend", 'b', "B", 0, "List this backend's devices only, and fail if none is available", 0},
        {"json", 'j', NULL, 0, "Print a JSON array", 0},
        {0},
    };
    static const struct argp argp = {
        .options = list,
        .parser = parse,
        .doc = "Lists the devices of every backend, and the reason where one is unavailable.",
    };
    struct devices_options options = {0};
    if (!arguments_parse(&argp, argc, argv, 0, &options))
        return EXIT_FAILED;
    return show(&options) ? EXIT_SUCCESS : EXIT_FAILED;
}
