/* SPDX-License-Identifier: MIT */
#ifndef MGLU_CONFORMANCE_RUNNER_H
#define MGLU_CONFORMANCE_RUNNER_H

#include "conformance.h"
#include "tools/common/layer_log.h"

/** What the command line asks for. */
struct options {
    const char *backend, *plugin, *filter, *json, *junit, *max_isa, *rho_baseline;
    uint64_t seed;
    enum tier tier;
    size_t every;                  /**< run the first of every `every` cases; 1 runs all */
    int pool_threads;              /**< of the pool behind `parallel` */
    const mglu_parallel *parallel; /**< for the loops of the device under test; NULL: none */
    bool list, fail_fast;
};

/** A case that was run. */
struct result {
    char *name;
    enum verdict verdict;
    double rho;
    char *text; /**< NULL when there is nothing to say */
};

/** The errors of all elements that belong to one row of the table of rho. */
struct rho_row {
    char name[40];
    mglu_accuracy accuracy;
    double largest;
    uint64_t counts[RHO_STEPS];
};

enum { MAX_RHO_ROWS = 128, VERDICTS = VERDICT_UNSUPPORTED + 1 };

/** All results of one device. */
struct device_report {
    struct target target;
    struct layer_log layers; /**< of the case that runs */
    struct result *results;
    size_t result_count, room;
    size_t counts[VERDICTS];
    struct rho_row rho[MAX_RHO_ROWS];
    size_t rho_count;
};

/** Cases that a run consists of. */
struct case_list {
    struct selected_case {
        struct test_case test;
        const struct group *group;
    } * cases;
    size_t count, room;
};

/** The cases of the tier that match the filter, or a part of them; a filter that is a whole name selects that case. */
struct case_list list_cases(const struct options *options);

/** Runs them on the report's target and prints what fails. */
void run_cases(const struct case_list *cases, const struct options *options, struct device_report *report);

/** Adds a result; the texts are copied. */
void report_add(struct device_report *report, const char *name, const struct outcome *outcome);
void report_free(struct device_report *report);

/** Passed, failed (vacuous ones too) and skipped cases of all reports. */
void count_results(const struct device_report *reports, size_t count, size_t totals[3]);

/** The command that runs one case again on the target. */
void print_replay(FILE *stream, const struct target *target, const char *name);

const char *tier_name(enum tier tier);
const char *verdict_name(enum verdict verdict);

/** The 99th percentile of a row of rho. */
double rho_percentile_99(const struct rho_row *row);

/** The word behind "isa=" in a device's details, "" without one. */
void isa_of(const mglu_device_info *info, char *isa, size_t size);

/** Writes or reads a report; false, with a line on stderr, when that fails. */
bool write_json(const char *path, const struct options *options, const struct device_report *reports, size_t count);
bool write_junit(const char *path, const struct device_report *reports, size_t count);

/** Adds a failed result for each row of rho that is four times what it was in an earlier JSON report. */
bool check_drift(const char *path, struct device_report *reports, size_t count);

#endif
