/* SPDX-License-Identifier: MIT */
#include "output.h"
#include "serve.h"
#include "tools/common/report.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

/** One run of the program. */
struct run {
    struct options options;
    struct machine machine;
    struct test_data test_data;
    struct peer peers[LIST_MAX];
    struct comparison comparison;
    json_t *command, *report;
    size_t measured, wrong; /**< layers of this library */
};

static void count_members(struct run *run)
{
    const struct comparison *comparison = &run->comparison;
    for (int i = 0; i < comparison->member_count; i++) {
        run->measured += !comparison->members[i].peer && !comparison->members[i].failure[0];
        run->wrong += comparison->members[i].timed.wrong;
    }
}

/** Called after each comparison, so that an interrupted run leaves its results. */
static bool write_report(const struct run *run)
{
    return !run->options.json || json_write(run->report, run->options.json);
}

static bool run_problem(struct run *run, struct problem problem)
{
    report_progress(op_names[problem.op], run->comparison.number, run->comparison.total);
    run->comparison.problem = problem;
    const bool done = comparison_run(&run->comparison, &run->options, &run->machine, &run->test_data, run->peers) &&
                      json_add(run->report, &run->comparison) && write_report(run);
    report_progress_end();
    if (done) {
        table_comparison(&run->comparison, run->options.verbose);
        count_members(run);
    }
    comparison_close(&run->comparison);
    run->comparison.number++;
    return done;
}

/** All comparisons; shape and dtype vary slowest, since they need new matrices. */
static bool run_problems(struct run *run)
{
    const struct options *o = &run->options;
    const int counts[] = {o->shape_count, o->dtype_count, o->op_count, o->batch_count, o->regime_count};
    enum { AXES = sizeof counts / sizeof counts[0] };
    const bool quantised_x = (o->compute.layer_flags & MGLU_LAYER_ALLOW_QUANTISED_X) != 0;
    size_t total = 1;
    for (int axis = 0; axis < AXES; axis++)
        total *= (size_t)counts[axis];
    run->comparison.total = total;
    for (size_t number = 0; number < total; number++) {
        int at[AXES];
        size_t rest = number;
        for (int axis = AXES; axis-- > 0; rest /= (size_t)counts[axis])
            at[axis] = (int)(rest % (size_t)counts[axis]);
        const struct problem problem = {
            .shape = o->shapes[at[0]],
            .dtype = o->dtypes[at[1]],
            .x_dtype = o->x_dtype,
            .quantised_x = quantised_x && mglu_dtype_is_quantised(o->dtypes[at[1]]),
            .op = o->ops[at[2]],
            .batch = o->batches[at[3]],
            .regime = o->regimes[at[4]],
        };
        if (!run_problem(run, problem))
            return false;
    }
    return true;
}

static bool measure(struct run *run)
{
    run->report = json_report(&run->machine, run->command);
    if (!run->report)
        return report_failure("JSON: out of memory, or a text that is no UTF-8");
    table_machine(&run->machine);
    for (int i = 0; i < run->options.peer_count; i++)
        peer_start(&run->peers[i], &run->options.peers[i], &run->options, run->machine.threads);
    const bool done = run_problems(run);
    for (int i = 0; i < run->options.peer_count; i++)
        peer_stop(&run->peers[i]);
    if (done) {
        printf("\n%zu layers measured, %zu wrong\n", run->measured, run->wrong);
        fflush(stdout);
    }
    if (done && run->wrong)
        return report_failure("%zu layers computed something wrong", run->wrong);
    if (done && !run->measured)
        return report_failure("nothing was measured: every layer was skipped");
    return done;
}

int main(int argc, char **argv)
{
    static char name[] = "mglu-bench";
    /* Too large for a stack. */
    static struct run run;
    /* A write to a peer that has ended fails as any other write does. */
    signal(SIGPIPE, SIG_IGN);
    setenv("ARGP_HELP_FMT", "rmargin=100", 0);
    if (argc > 0)
        argv[0] = name;
    report_command(name);
    report_check_stdout();
    run.command = json_command(argc, argv);
    options_parse(&run.options, argc, argv);
    if (run.options.serve) {
        json_decref(run.command);
        return serve(&run.options) ? EXIT_SUCCESS : EXIT_FAILED;
    }
    if ((run.options.json && !json_can_write(run.options.json)) || !machine_open(&run.machine, &run.options))
        return EXIT_FAILED;
    const bool done = measure(&run);
    json_decref(run.report);
    json_decref(run.command);
    test_data_free(&run.test_data);
    machine_close(&run.machine);
    return done ? EXIT_SUCCESS : EXIT_FAILED;
}
