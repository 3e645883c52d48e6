/* SPDX-License-Identifier: MIT */
#include "run/runner.h"
#include "run/targets.h"
#include "tests/stress/pool.h"
#include "tools/common/arguments.h"

#include <argp.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { EXIT_USAGE = 2, EXIT_LACKS_ISA = 77 };

static void print_version(FILE *stream, struct argp_state *state)
{
    fprintf(stream, "mglu-conformance %s (%s)\n", mglu_version(), mglu_build_info());
}

static enum tier parse_tier(struct argp_state *state, const char *text)
{
    const char *const names[] = {tier_name(TIER_QUICK), tier_name(TIER_FULL), tier_name(TIER_EXHAUSTIVE)};

    return (enum tier)arguments_choice(state, "--tier", text, names, sizeof names / sizeof names[0]);
}

enum { KEY_JSON = 256, KEY_JUNIT, KEY_MAX_ISA, KEY_FAIL_FAST, KEY_RHO_BASELINE, KEY_EVERY, KEY_POOL };

static const struct argp_option argp_options[] = {
    {"backend", 'b', "B", 0, "test this backend's devices; without it, every device found", 0},
    {"plugin", 'p', "PATH", 0, "test the devices of the backend in this shared object", 0},
    {"filter", 'f', "S", 0, "run cases whose name contains S or matches the pattern S; a whole name selects one", 0},
    {"seed", 's', "N", 0, "draw other numbers (default 1)", 0},
    {"tier", 't', "TIER", 0, "quick (default), full or exhaustive", 0},
    {"every", KEY_EVERY, "N", 0, "run the first of every N of these cases", 0},
    {"list", 'l', NULL, 0, "print the names of the cases and run none", 0},
    {"json", KEY_JSON, "FILE", 0, "write a report in JSON", 0},
    {"junit", KEY_JUNIT, "FILE", 0, "write a report in JUnit's XML", 0},
    {"max-isa", KEY_MAX_ISA, "ISA", 0, "use no CPU instructions beyond this set; exit 77 where the machine lacks it",
     0},
    {"pool", KEY_POOL, "N", 0, "run loops of the CPU backend on a pool of N threads, as a host's", 0},
    {"rho-baseline", KEY_RHO_BASELINE, "FILE", 0, "fail where errors are four times those of an earlier JSON report",
     0},
    {"fail-fast", KEY_FAIL_FAST, NULL, 0, "stop at the first failure", 0},
    {0},
};

static error_t parse(int key, char *argument, struct argp_state *state)
{
    struct options *options = state->input;

    switch (key) {
    case 'b':
        options->backend = argument;
        break;
    case 'p':
        options->plugin = argument;
        break;
    case 'f':
        options->filter = argument;
        break;
    case 's':
        options->seed = (uint64_t)arguments_number(state, "--seed", argument, 0, INT64_MAX);
        break;
    case 't':
        options->tier = parse_tier(state, argument);
        break;
    case KEY_EVERY:
        options->every = (size_t)arguments_number(state, "--every", argument, 1, INT32_MAX);
        break;
    case KEY_POOL:
        options->pool_threads = (int)arguments_number(state, "--pool", argument, 1, 1024);
        break;
    case 'l':
        options->list = true;
        break;
    case KEY_JSON:
        options->json = argument;
        break;
    case KEY_JUNIT:
        options->junit = argument;
        break;
    case KEY_MAX_ISA:
        options->max_isa = argument;
        break;
    case KEY_RHO_BASELINE:
        options->rho_baseline = argument;
        break;
    case KEY_FAIL_FAST:
        options->fail_fast = true;
        break;
    case ARGP_KEY_ARG:
        argp_error(state, "%s: unexpected operand", argument);
        break;
    case ARGP_KEY_END:
        if (options->backend && options->plugin)
            argp_error(state, "--backend and --plugin exclude each other");
        if (options->every > 1 && options->rho_baseline)
            argp_error(state, "--rho-baseline compares percentiles of all cases: leave out --every");
        break;
    default:
        return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

/* Whether a device runs exactly the requested instruction set, not a smaller one. */
static bool has_requested_isa(const struct options *options, const struct target *target)
{
    char isa[64];

    isa_of(&target->info, isa, sizeof isa);
    if (!options->max_isa || !isa[0] || strcmp(isa, options->max_isa) == 0)
        return true;
    printf("%s: this machine lacks %s, the most it has is %s\n", target->info.backend, options->max_isa, isa);
    return false;
}

static void print_rho(const struct device_report *report)
{
    if (report->rho_count)
        printf("errors as a fraction of the tolerance, for dtypes of W/x/y      largest     99 %%\n");
    for (size_t i = 0; i < report->rho_count; i++)
        printf("  %-50s class %s %8.3f %8.3f\n", report->rho[i].name, accuracy_name(report->rho[i].accuracy),
               report->rho[i].largest, rho_percentile_99(&report->rho[i]));
}

static void run_device(const struct options *options, const struct case_list *cases, struct device_report *report)
{
    const mglu_device_info *info = &report->target.info;

    printf("%s: %s, %s, seed %" PRIu64 ", tier %s, %zu cases\n", info->backend, info->name, info->details,
           options->seed, tier_name(options->tier), cases->count);
    run_cases(cases, options, report);
    print_rho(report);
}

/* Runs all devices; the exit status. */
static int run_devices(const struct options *options, const struct case_list *cases, struct device_report *reports,
                       size_t count)
{
    size_t totals[3];
    bool written = true;

    for (size_t i = 0; i < count; i++)
        if (!has_requested_isa(options, &reports[i].target))
            return EXIT_LACKS_ISA;
    for (size_t i = 0; i < count; i++)
        run_device(options, cases, &reports[i]);
    if (options->rho_baseline)
        written &= check_drift(options->rho_baseline, reports, count);
    if (options->json)
        written &= write_json(options->json, options, reports, count);
    if (options->junit)
        written &= write_junit(options->junit, reports, count);
    count_results(reports, count, totals);
    if (totals[0] + totals[1] == 0)
        printf("nothing was run: no device supports any of the cases\n");
    printf("%zu passed, %zu failed, %zu skipped\n", totals[0], totals[1], totals[2]);
    return written && totals[0] > 0 && totals[1] == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

static int open_and_run(const struct options *options, const struct case_list *cases)
{
    struct device_report *reports;
    size_t count = open_targets(options, &reports);
    int status = EXIT_FAILURE;

    if (count > 0)
        status = run_devices(options, cases, reports, count);
    else
        printf("nothing was run\n0 passed, 0 failed, 0 skipped\n");
    for (size_t i = 0; i < count; i++)
        report_free(&reports[i]);
    free(reports);
    return status;
}

/* With the hook of a pool, where one is wanted. */
static int run_on_pool(struct options *options, const struct case_list *cases)
{
    struct pool *pool = options->pool_threads ? pool_create(options->pool_threads) : NULL;
    const mglu_parallel hook = pool_hook(pool);
    int status;

    options->parallel = pool ? &hook : NULL;
    status = open_and_run(options, cases);
    if (pool)
        pool_destroy(pool);
    return status;
}

int main(int argc, char **argv)
{
    static const char summary[] = "Tests a backend of mglu, and shows where its results are wrong.\v"
                                  "The last line counts: N passed, N failed, N skipped. The exit status is 0 when "
                                  "something passed and nothing failed, 1 otherwise, 2 for bad usage.";
    const struct argp parser = {.options = argp_options, .parser = parse, .doc = summary};
    struct options options = {.seed = 1, .every = 1};
    struct case_list cases;
    int status;

    argp_err_exit_status = EXIT_USAGE;
    argp_program_version_hook = print_version;
    if (argp_parse(&parser, argc, argv, 0, NULL, &options) != 0)
        return EXIT_USAGE;
    cases = list_cases(&options);
    if (cases.count == 0) {
        printf("nothing was run: no case matches the filter\n0 passed, 0 failed, 0 skipped\n");
        status = EXIT_FAILURE;
    } else if (options.list) {
        for (size_t i = 0; i < cases.count; i++)
            puts(cases.cases[i].test.name);
        status = EXIT_SUCCESS;
    } else {
        status = run_on_pool(&options, &cases);
    }
    free(cases.cases);
    return status;
}
