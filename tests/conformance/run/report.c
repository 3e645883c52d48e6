/* SPDX-License-Identifier: MIT */
#include "run/runner.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

const char *tier_name(enum tier tier)
{
    static const char *const names[] = {"quick", "full", "exhaustive"};

    return names[tier];
}

const char *verdict_name(enum verdict verdict)
{
    static const char *const names[] = {"passed", "failed", "vacuous", "unsupported"};

    return names[verdict];
}

void isa_of(const mglu_device_info *info, char *isa, size_t size)
{
    const char *word = strstr(info->details, "isa=");

    snprintf(isa, size, "%.*s", word ? (int)strcspn(word + 4, " ") : 0, word ? word + 4 : "");
}

static json_t *json_of_rho(const struct device_report *report)
{
    json_t *table = json_array();

    for (size_t i = 0; i < report->rho_count; i++) {
        const struct rho_row *row = &report->rho[i];
        json_array_append_new(table, json_pack("{ss ss sf sf}", "row", row->name, "class", accuracy_name(row->accuracy),
                                               "max", row->largest, "percentile_99", rho_percentile_99(row)));
    }
    return table;
}

/* Cases that failed, were skipped or have a note. */
static json_t *json_of_results(const struct device_report *report)
{
    json_t *list = json_array();

    for (size_t i = 0; i < report->result_count; i++) {
        const struct result *result = &report->results[i];
        if (result->verdict != VERDICT_PASS)
            json_array_append_new(list,
                                  json_pack("{ss ss ss}", "name", result->name, "verdict",
                                            verdict_name(result->verdict), "text", result->text ? result->text : ""));
    }
    return list;
}

static json_t *json_of_device(const struct device_report *report)
{
    const mglu_device_info *info = &report->target.info;
    const size_t *counts = report->counts;
    char isa[64];

    isa_of(info, isa, sizeof isa);
    return json_pack("{ss ss ss ss ss s{sI sI sI sI} so so}", "backend", info->backend, "device", info->name, "details",
                     info->details, "isa", isa, "plugin", report->target.plugin ? report->target.plugin : "", "counts",
                     "passed", (json_int_t)counts[VERDICT_PASS], "failed", (json_int_t)counts[VERDICT_FAIL], "vacuous",
                     (json_int_t)counts[VERDICT_VACUOUS], "unsupported", (json_int_t)counts[VERDICT_UNSUPPORTED], "rho",
                     json_of_rho(report), "not_passed", json_of_results(report));
}

bool write_json(const char *path, const struct options *options, const struct device_report *reports, size_t count)
{
    json_t *devices = json_array(), *root;
    int failed;

    for (size_t i = 0; i < count; i++)
        json_array_append_new(devices, json_of_device(&reports[i]));
    root = json_pack("{ss ss sI ss ss sI so}", "version", mglu_version(), "build", mglu_build_info(), "seed",
                     (json_int_t)options->seed, "tier", tier_name(options->tier), "filter",
                     options->filter ? options->filter : "", "every", (json_int_t)options->every, "devices", devices);
    failed = !root || json_dump_file(root, path, JSON_INDENT(2) | JSON_REAL_PRECISION(6));
    json_decref(root);
    if (failed)
        fprintf(stderr, "mglu-conformance: %s: the report could not be written\n", path);
    return !failed;
}

static bool same_device(const json_t *device, const mglu_device_info *info)
{
    const char *backend = json_string_value(json_object_get(device, "backend"));
    const char *isa = json_string_value(json_object_get(device, "isa"));
    char own[64];

    isa_of(info, own, sizeof own);
    return backend && isa && strcmp(backend, info->backend) == 0 && strcmp(isa, own) == 0;
}

/* Small values may rise: they are negligible compared with the bound of 1. */
static bool has_risen(double now, const json_t *row, const char *key)
{
    return now > 4 * fmax(json_number_value(json_object_get(row, key)), 0.01);
}

static void check_row(struct device_report *report, const struct rho_row *now, const json_t *before)
{
    struct outcome outcome = {.rho = now->largest};
    const char *name = json_string_value(json_object_get(before, "row"));
    const char *accuracy = json_string_value(json_object_get(before, "class"));
    char case_name[80];

    if (!name || !accuracy || strcmp(name, now->name) != 0 || strcmp(accuracy, accuracy_name(now->accuracy)) != 0)
        return;
    snprintf(case_name, sizeof case_name, "drift/%s class %s", now->name, accuracy);
    if (has_risen(now->largest, before, "max") || has_risen(rho_percentile_99(now), before, "percentile_99")) {
        outcome_set(&outcome, VERDICT_FAIL,
                    "errors have risen: largest %.3g of the tolerance (was %.3g), 99th percentile %.3g (was %.3g)",
                    now->largest, json_number_value(json_object_get(before, "max")), rho_percentile_99(now),
                    json_number_value(json_object_get(before, "percentile_99")));
        printf("FAIL %s\n  %s\n", case_name, outcome.text);
    }
    report_add(report, case_name, &outcome);
}

static void check_device(struct device_report *report, const json_t *device)
{
    const json_t *row;
    size_t i;

    json_array_foreach(json_object_get(device, "rho"), i, row) for (size_t k = 0; k < report->rho_count; k++)
        check_row(report, &report->rho[k], row);
}

bool check_drift(const char *path, struct device_report *reports, size_t count)
{
    json_error_t error;
    json_t *root = json_load_file(path, 0, &error);
    const json_t *device;
    size_t at;

    if (!root) {
        fprintf(stderr, "mglu-conformance: %s: line %d: %s\n", path, error.line, error.text);
        return false;
    }
    json_array_foreach(json_object_get(root, "devices"), at,
                       device) for (size_t i = 0; i < count; i++) if (same_device(device, &reports[i].target.info))
        check_device(&reports[i], device);
    json_decref(root);
    return true;
}
