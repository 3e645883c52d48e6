/* SPDX-License-Identifier: MIT */
#include "output.h"

#include "tools/common/report.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

/** JSON has no NaN: values that were not measured are null. */
static json_t *number(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

static json_t *text(const char *value)
{
    return value && *value ? json_string(value) : json_null();
}

static json_t *count(int64_t value)
{
    return value ? json_integer(value) : json_null();
}

json_t *json_command(int argc, char **argv)
{
    json_t *words = json_array();
    for (int i = 0; i < argc; i++)
        json_array_append_new(words, json_string(argv[i]));
    return words;
}

json_t *json_report(const struct machine *machine, json_t *command)
{
    char date[32] = "";
    const time_t now = time(NULL);
    struct tm moment;
    if (gmtime_r(&now, &moment))
        strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%SZ", &moment);
    const mglu_device_info *info = &machine->compute.info;
    return json_pack("{s:s, s:s, s:O, s:s, s:{s:s, s:s, s:s}, s:s, s:i, s:I, s:I, s:[]}", "version", mglu_version(),
                     "build", mglu_build_info(), "command", command, "date", date, "device", "backend", info->backend,
                     "name", info->name, "details", info->details, "timer", timer_name(&machine->timer), "threads",
                     machine->threads, "cache_bytes", (json_int_t)machine->cache_bytes, "cold_bytes",
                     (json_int_t)machine->cold_bytes, "rows");
}

/** The configuration of a row, without the figures. */
static json_t *describe(const struct comparison *comparison, const struct member *member)
{
    const struct problem *problem = &comparison->problem;
    const mglu_device_info *info = &comparison->machine->compute.info;
    const char *stored = mglu_dtype_name(problem->dtype);
    return json_pack(
        "{s:s, s:s, s:s, s:s, s:o, s:s, s:s, s:b, s:I, s:I, s:i, s:o, s:I, s:s, s:i}", "backend",
        member->peer ? member->peer->name : info->backend, "device", member->peer ? member->peer->device : info->name,
        "op", op_names[problem->op], "what", member_what(member), "kernel", text(member->timed.kernel), "dtype",
        member->peer ? member->peer_case.dtype : stored, "x_dtype", mglu_dtype_name(problem->x_dtype), "quantised_x",
        !member->peer && problem->quantised_x, "d", (json_int_t)problem->shape.d, "h", (json_int_t)problem->shape.h,
        "n_masks", (int)member->timed.n_masks, "top_k", count(member->timed.top_k), "batch", (json_int_t)problem->batch,
        "regime", regime_names[problem->regime], "threads", comparison->machine->threads);
}

static json_t *figures_json(const struct comparison *comparison, const struct member *member)
{
    struct figures f = {NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN};
    if (!member->failure[0])
        f = comparison_figures(comparison, member);
    const double peak = comparison_peak_gflops(comparison);
    return json_pack(
        "{s:I, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}",
        "rounds", (json_int_t)comparison->rounds, "median_us", number(f.median_us), "min_us", number(f.min_us),
        "p10_us", number(f.p10_us), "p90_us", number(f.p90_us), "bytes", count((int64_t)member->timed.bytes), "gbps",
        number(f.gbps), "read_gbps", number(comparison_read_gbps(comparison)), "fraction_of_read_bandwidth",
        number(f.read_share), "ratio_vs_glu", number(f.ratio), "ratio_vs_glu_p10", number(f.ratio_p10),
        "ratio_vs_glu_p90", number(f.ratio_p90), "ratio_vs_dense", number(f.dense_ratio), "gflops", number(f.gflops),
        "peak", text(isnan(peak) ? NULL : comparison->peak->name), "peak_gflops", number(peak), "fraction_of_peak",
        number(f.peak_share), "dispatch_ns", number(comparison_dispatch_ns(comparison)), "skipped",
        text(member->timed.wrong ? NULL : member->failure), "failed",
        text(member->timed.wrong ? member->failure : NULL));
}

bool json_add(json_t *report, const struct comparison *comparison)
{
    json_t *rows = json_object_get(report, "rows");
    for (int i = 0; i < comparison->member_count; i++) {
        json_t *row = describe(comparison, &comparison->members[i]);
        if (!row || json_object_update_new(row, figures_json(comparison, &comparison->members[i])) != 0 ||
            json_array_append(rows, row) != 0) {
            json_decref(row);
            return report_failure("JSON: out of memory, or a text that is no UTF-8");
        }
        json_decref(row);
    }
    return true;
}

bool json_can_write(const char *path)
{
    FILE *file = fopen(path, "ae");
    if (file && fclose(file) == 0)
        return true;
    return report_failure("%s: %s", path, strerror(errno));
}

bool json_write(const json_t *report, const char *path)
{
    errno = 0;
    if (json_dump_file(report, path, JSON_INDENT(1) | JSON_REAL_PRECISION(6)) == 0)
        return true;
    return report_failure("%s: %s", path, errno ? strerror(errno) : "can't be written");
}
