/* SPDX-License-Identifier: MIT */
#include "judge/grid.h"

#include "judge/compare.h"

#include <stdlib.h>

/* How often numbers are drawn again when their expected results would prove too little. */
enum { ATTEMPTS = 32 };

/* A case while it runs: its numbers, the oracle made from them, and what the oracle expects. */
struct grid_trial {
    struct grid_problem problem;
    struct rig oracle;
    double *want, *tolerance;
    const char *vacuous; /* why passing would prove little, or NULL */
};

/* Quantised x need not be integers, whatever x is. */
static struct expectation expect(const struct grid_trial *trial, mglu_accuracy accuracy)
{
    const struct grid_case *test = trial->problem.test;

    return (struct expectation){.dtype = test->y,
                                .rows = test->batch,
                                .columns = grid_columns(test),
                                .want = trial->want,
                                .tolerance = trial->tolerance,
                                .exact = accuracy != MGLU_ACCURACY_C && grid_is_exact(test)};
}

static bool compute_grid_expectation(struct grid_trial *trial, mglu_accuracy accuracy, struct outcome *outcome)
{
    mglu_forward_args args = grid_problem_args(&trial->problem, false);

    return outcome_expect(outcome, "mglu_forward_reference",
                          mglu_forward_reference(trial->oracle.layer, &args, accuracy, trial->want, trial->tolerance),
                          MGLU_OK);
}

/* Draws the numbers, computes the expected results, and returns whether they are suitable. */
static bool prepare_once(struct grid_trial *trial, problem_maker *make, const struct target *target,
                         const struct test_case *test, int attempt, struct outcome *outcome)
{
    const struct grid_case *grid = test->data;
    struct expectation expected;

    make(&trial->problem, grid, target, test->name, attempt);
    if (!rig_open(&trial->oracle, target->reference, &trial->problem.weights, &trial->problem.layer, outcome) ||
        !compute_grid_expectation(trial, MGLU_ACCURACY_A, outcome))
        return false;
    expected = expect(trial, MGLU_ACCURACY_A);
    trial->vacuous = expectation_vacuous(&expected, grid->fill < FILL_EXACT);
    if (!trial->problem.routing_is_clear)
        trial->vacuous = "the router's choice depends on rounding";
    return trial->vacuous == NULL;
}

static void clear_trial(struct grid_trial *trial)
{
    rig_close(&trial->oracle);
    grid_problem_free(&trial->problem);
}

static void prepare(struct grid_trial *trial, problem_maker *make, const struct target *target,
                    const struct test_case *test, struct outcome *outcome)
{
    const struct grid_case *grid = test->data;
    size_t count = (size_t)(grid->batch * grid_columns(grid)) + 1;

    *trial = (struct grid_trial){.want = malloc(count * sizeof(double)), .tolerance = malloc(count * sizeof(double))};
    if (!trial->want || !trial->tolerance)
        exit(EXIT_FAILURE);
    for (int attempt = 0; attempt < ATTEMPTS; attempt++) {
        if (attempt > 0)
            clear_trial(trial);
        if (prepare_once(trial, make, target, test, attempt, outcome) || outcome->verdict != VERDICT_PASS)
            return;
    }
}

static bool upload(struct grid_problem *problem, const struct rig *rig, bool host_memory, struct outcome *outcome)
{
    return rows_upload(&problem->x, rig, host_memory, outcome) && rows_upload(&problem->y, rig, host_memory, outcome) &&
           rows_upload(&problem->residual, rig, host_memory, outcome) &&
           rows_upload(&problem->ids, rig, host_memory, outcome) && rows_upload(&problem->p, rig, host_memory, outcome);
}

static bool forward(const struct target *target, const struct rig *rig, struct grid_problem *problem,
                    struct outcome *outcome)
{
    if (!upload(problem, rig, target->info.host_memory, outcome))
        return false;
    mglu_forward_args args = grid_problem_args(problem, true);
    args.workspace = mglu_memory_data(rig->workspace);
    args.workspace_size = mglu_memory_size(rig->workspace);
    return outcome_expect(outcome, "mglu_forward", mglu_forward(rig->layer, rig->queue, &args), MGLU_OK) &&
           outcome_expect(outcome, "mglu_queue_wait", mglu_queue_wait(rig->queue), MGLU_OK) &&
           rows_download(&problem->y, rig, outcome);
}

static const char *h_bucket(int64_t h)
{
    return h <= 32 ? "1-32" : h <= 128 ? "33-128" : h <= 512 ? "129-512" : h <= 2048 ? "513-2048" : "2049-";
}

static void name_rho_row(const struct grid_case *test, struct outcome *outcome)
{
    snprintf(outcome->rho_row, sizeof outcome->rho_row, "%s/%s/%s h=%s", mglu_dtype_name(test->weight),
             mglu_dtype_name(test->x), mglu_dtype_name(test->y), h_bucket(test->h));
}

/* Reads the layer's accuracy class, which its flags must allow, and sets the oracle's bounds to it. */
static bool learn_accuracy(struct grid_trial *trial, const struct rig *rig, struct outcome *outcome)
{
    const uint32_t flags = trial->problem.layer.flags;

    outcome->accuracy = mglu_layer_accuracy(rig->layer);
    if (outcome->accuracy < MGLU_ACCURACY_A || outcome->accuracy > MGLU_ACCURACY_C)
        outcome_set(outcome, VERDICT_FAIL, "mglu_layer_accuracy() gave %d", (int)outcome->accuracy);
    else if (outcome->accuracy == MGLU_ACCURACY_C && !(flags & MGLU_LAYER_ALLOW_QUANTISED_X))
        outcome_set(outcome, VERDICT_FAIL, "class C without MGLU_LAYER_ALLOW_QUANTISED_X");
    if (outcome->verdict == VERDICT_FAIL || outcome->accuracy == MGLU_ACCURACY_A)
        return outcome->verdict != VERDICT_FAIL;
    return compute_grid_expectation(trial, outcome->accuracy, outcome);
}

/* Runs the problem on an open rig and checks the results. */
static void judge(const struct target *target, struct grid_trial *trial, const struct rig *rig, struct outcome *outcome)
{
    struct grid_problem *problem = &trial->problem;

    if (!learn_accuracy(trial, rig, outcome))
        return;
    grid_problem_overwrite_sources(problem);
    if (!forward(target, rig, problem, outcome))
        return;
    struct expectation expected = expect(trial, outcome->accuracy);
    if (rows_check_gaps(&problem->y, "y", outcome))
        compare_rows(&expected, &problem->y, outcome);
    if (!expected.exact && outcome->rho >= 0)
        name_rho_row(problem->test, outcome);
    if (trial->vacuous)
        outcome_set(outcome, VERDICT_VACUOUS, "passed, but this proves too little: %s", trial->vacuous);
}

/* A device for which mglu_supports() is false must also refuse the layer. */
static void check_refusal(const struct target *target, const struct grid_problem *problem, struct outcome *outcome)
{
    struct rig rig;
    struct outcome attempt = {0};
    char reason[512];

    snprintf(reason, sizeof reason, "%s", mglu_last_error());
    if (rig_open(&rig, target->device, &problem->weights, &problem->layer, &attempt)) {
        outcome->note = true;
        outcome_set(outcome, VERDICT_UNSUPPORTED, "mglu_supports() is false (%s), yet the layer could be made", reason);
        rig_close(&rig);
    } else {
        outcome_set(outcome, VERDICT_UNSUPPORTED, "%s", reason);
    }
}

void grid_run_with(problem_maker *make, const struct target *target, const struct test_case *test,
                   struct outcome *outcome)
{
    struct grid_trial trial;
    struct rig rig;

    prepare(&trial, make, target, test, outcome);
    if (outcome->verdict == VERDICT_PASS) {
        mglu_status status = mglu_supports(target->device, &trial.problem.weights, &trial.problem.layer);

        if (status == MGLU_ERROR_UNSUPPORTED) {
            check_refusal(target, &trial.problem, outcome);
        } else if (outcome_expect(outcome, "mglu_supports", status, MGLU_OK) &&
                   rig_open(&rig, target->device, &trial.problem.weights, &trial.problem.layer, outcome)) {
            judge(target, &trial, &rig, outcome);
            rig_close(&rig);
        }
    }
    clear_trial(&trial);
    free(trial.want);
    free(trial.tolerance);
}

void grid_run(const struct target *target, const struct test_case *test, struct outcome *outcome)
{
    grid_run_with(grid_problem_make, target, test, outcome);
}
