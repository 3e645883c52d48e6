/* SPDX-License-Identifier: MIT */
#include "commands.h"
#include "tools/common/compute.h"
#include "tools/common/report.h"

#include <argp.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static error_t parse(int key, char *argument, struct argp_state *state)
{
    bool *json = state->input;
    switch (key) {
    case 'j':
        *json = true;
        return 0;
    case ARGP_KEY_ARG:
        argp_error(state, "%s: unexpected operand", argument);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/** All devices, in memory of the caller's. */
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

/** The names that a NULL ends; NULL where memory is out. */
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
    return done || report_stdout_failed() || report_failure("JSON: can't be written");
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

/** One line per device; a star marks what "auto" means here. */
static void print_table(const mglu_device_info *infos, size_t count, size_t automatic)
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
    if (automatic < count)
        printf("\n* is what auto picks\n");
}

/** Index of the device that "auto" picks; `count` when there is none. */
static size_t find_automatic(mglu_context *context, size_t count)
{
    mglu_device *picked;
    size_t i = 0;
    if (mglu_device_pick(context, "auto", &picked) != MGLU_OK)
        return count;
    while (i < count && mglu_device_at(context, i) != picked)
        i++;
    return i;
}

static bool show(bool json)
{
    mglu_context *context = NULL;
    mglu_device_info *infos = NULL;
    size_t count;
    bool done = compute_context(&context, 0) && (infos = list_devices(context, &count)) != NULL;
    if (done && json)
        done = print_json(infos, count);
    else if (done)
        print_table(infos, count, find_automatic(context, count));
    free(infos);
    mglu_context_destroy(&context);
    return done;
}

int command_devices(int argc, char **argv)
{
    static const struct argp_option options[] = {
        {"json", 'j', NULL, 0, "Print a JSON array", 0},
        {0},
    };
    static const struct argp argp = {
        .options = options,
        .parser = parse,
        .doc = "Lists every backend and its devices, available or why not.",
    };
    bool json = false;
    if (argp_parse(&argp, argc, argv, 0, NULL, &json) != 0)
        return EXIT_FAILED;
    return show(json) ? EXIT_SUCCESS : EXIT_FAILED;
}
