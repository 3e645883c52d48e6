/* SPDX-License-Identifier: MIT */
#include "judge/train.h"

#include "judge/compare.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* How often numbers are drawn again when their expected results would prove too little. */
enum { ATTEMPTS = 32 };

/* Memory of one block, aligned to a page: the bytes behind it must not change. */
static void make_block(struct rows *rows, size_t size)
{
    rows_make(rows, PLACE_STARTS_AT_GUARD, 1, (int64_t)size, 1);
}

bool train_open(struct train_rig *rig, mglu_device *device, const mglu_train_desc *desc, int64_t batch,
                struct outcome *outcome)
{
    const mglu_status status = mglu_train_create(device, desc, &rig->train);

    *rig = (struct train_rig){.train = rig->train};
    if (status == MGLU_ERROR_UNSUPPORTED)
        outcome_set(outcome, VERDICT_UNSUPPORTED, "%s", mglu_last_error());
    if (status == MGLU_ERROR_UNSUPPORTED || !outcome_expect(outcome, "mglu_train_create", status, MGLU_OK))
        return false;
    make_block(&rig->workspace, mglu_train_workspace_size(rig->train, batch));
    make_block(&rig->saved, mglu_train_saved_size(rig->train, batch));
    return true;
}

void train_close(struct train_rig *rig)
{
    mglu_train_destroy(&rig->train);
    rows_free(&rig->workspace);
    rows_free(&rig->saved);
}

mglu_train_forward_args train_forward_args(const struct train_rig *rig, const struct train_problem *problem,
                                           const mglu_parallel *parallel)
{
    return (mglu_train_forward_args){.struct_size = sizeof(mglu_train_forward_args),
                                     .batch = problem->test->batch,
                                     .inputs = train_problem_inputs(problem),
                                     .y = train_problem_output(problem, TRAIN_Y),
                                     .saved = rows_at(&rig->saved, 0),
                                     .saved_size = (size_t)rig->saved.columns,
                                     .workspace = rows_at(&rig->workspace, 0),
                                     .workspace_size = (size_t)rig->workspace.columns,
                                     .parallel = parallel};
}

mglu_train_backward_args train_backward_args(const struct train_rig *rig, const struct train_problem *problem,
                                             const mglu_parallel *parallel)
{
    return (mglu_train_backward_args){.struct_size = sizeof(mglu_train_backward_args),
                                      .flags = problem->test->accumulate ? MGLU_TRAIN_ACCUMULATE : 0,
                                      .batch = problem->test->batch,
                                      .inputs = train_problem_inputs(problem),
                                      .dy = rows_on_host(&problem->dy),
                                      .saved = rows_at(&rig->saved, 0),
                                      .saved_size = (size_t)rig->saved.columns,
                                      .dx = train_problem_output(problem, TRAIN_DX),
                                      .dweight = train_problem_array(problem, TRAIN_DWEIGHT),
                                      .dlogits = train_problem_array(problem, TRAIN_DLOGITS),
                                      .dgate_bias = train_problem_array(problem, TRAIN_DGATE_BIAS),
                                      .dvalue_bias = train_problem_array(problem, TRAIN_DVALUE_BIAS),
                                      .drouter_logits = train_problem_output(problem, TRAIN_DROUTER_LOGITS),
                                      .workspace = rows_at(&rig->workspace, 0),
                                      .workspace_size = (size_t)rig->workspace.columns,
                                      .parallel = parallel};
}

static bool check_memory(const struct train_rig *rig, const struct train_problem *problem, struct outcome *outcome)
{
    bool good =
        rows_check_gaps(&rig->workspace, "the workspace", outcome) && rows_check_gaps(&rig->saved, "saved", outcome);

    for (int i = 0; i < TRAIN_RESULTS && good; i++)
        if (problem->results[i].region)
            good = rows_check_gaps(&problem->results[i], train_result_name((enum train_result)i), outcome);
    return good;
}

static bool wants_gradient(const struct train_case *test)
{
    for (int i = TRAIN_DX; i < TRAIN_RESULTS; i++)
        if (train_wants(test, (enum train_result)i))
            return true;
    return false;
}

/* The backward gets nothing of the forward's but `saved`, which it leaves as it is. */
static bool step_back(const struct train_rig *rig, struct train_problem *problem, const mglu_parallel *parallel,
                      struct outcome *outcome)
{
    const mglu_train_backward_args args = train_backward_args(rig, problem, parallel);
    const size_t size = (size_t)rig->saved.columns;
    unsigned char *copy = malloc(size + 1);
    bool good;

    if (!copy)
        exit(EXIT_FAILURE);
    memcpy(copy, args.saved, size);
    rows_fill(&rig->workspace, ROWS_GAP);
    good = outcome_expect(outcome, "mglu_train_backward", mglu_train_backward(rig->train, NULL, &args), MGLU_OK);
    if (good && memcmp(copy, args.saved, size) != 0)
        outcome_set(outcome, VERDICT_FAIL, "the backward changed `saved`");
    free(copy);
    return good;
}

bool train_step(const struct train_rig *rig, struct train_problem *problem, const mglu_parallel *parallel,
                struct outcome *outcome)
{
    const mglu_train_forward_args args = train_forward_args(rig, problem, parallel);

    rows_fill(&rig->workspace, ROWS_GAP);
    rows_fill(&rig->saved, ROWS_GAP);
    return outcome_expect(outcome, "mglu_train_forward", mglu_train_forward(rig->train, NULL, &args), MGLU_OK) &&
           (!wants_gradient(problem->test) || step_back(rig, problem, parallel, outcome)) &&
           check_memory(rig, problem, outcome);
}

/* What the oracle expects. */
struct oracle {
    double *want[TRAIN_RESULTS], *tolerance[TRAIN_RESULTS];
};

static void make_oracle(struct oracle *oracle, const struct train_case *test)
{
    *oracle = (struct oracle){{NULL}, {NULL}};
    for (int i = 0; i < TRAIN_RESULTS; i++) {
        const enum train_result result = (enum train_result)i;
        const size_t size = (size_t)(train_rows(test, result) * train_columns(test, result) + 1) * sizeof(double);

        if (!train_wants(test, result))
            continue;
        oracle->want[i] = malloc(size);
        oracle->tolerance[i] = malloc(size);
        if (!oracle->want[i] || !oracle->tolerance[i])
            exit(EXIT_FAILURE);
    }
}

static void free_oracle(struct oracle *oracle)
{
    for (int i = 0; i < TRAIN_RESULTS; i++) {
        free(oracle->want[i]);
        free(oracle->tolerance[i]);
    }
}

static mglu_train_expected expected_of(const struct oracle *oracle, enum train_result result)
{
    return (mglu_train_expected){oracle->want[result], oracle->tolerance[result]};
}

/* An accumulated gradient's old value is one more term of its sum. */
static void add_before(const struct train_problem *problem, struct oracle *oracle, enum train_result result)
{
    const struct train_case *test = problem->test;
    const double terms = (double)(test->batch * (1 + test->n_masks) + 1), c = fmin(terms, 8 + sqrt(terms));
    const int64_t count = train_rows(test, result) * train_columns(test, result);

    for (int64_t i = 0; i < count && problem->before[result]; i++) {
        const double before = (double)problem->before[result][i];

        oracle->want[result][i] += before;
        oracle->tolerance[result][i] += (2 * c + 2) * (FLT_EPSILON / 2.0) * fabs(before);
    }
}

static bool compute_oracle(const struct target *target, const struct train_problem *problem, struct oracle *oracle,
                           struct outcome *outcome)
{
    const mglu_train_reference_args args = {.struct_size = sizeof args,
                                            .batch = problem->test->batch,
                                            .inputs = train_problem_inputs(problem),
                                            .dy = rows_on_host(&problem->dy),
                                            .y = expected_of(oracle, TRAIN_Y),
                                            .dx = expected_of(oracle, TRAIN_DX),
                                            .dweight = expected_of(oracle, TRAIN_DWEIGHT),
                                            .dlogits = expected_of(oracle, TRAIN_DLOGITS),
                                            .dgate_bias = expected_of(oracle, TRAIN_DGATE_BIAS),
                                            .dvalue_bias = expected_of(oracle, TRAIN_DVALUE_BIAS),
                                            .drouter_logits = expected_of(oracle, TRAIN_DROUTER_LOGITS)};
    mglu_train *train = NULL;
    bool good = outcome_expect(outcome, "mglu_train_create of the oracle",
                               mglu_train_create(target->reference, &problem->desc, &train), MGLU_OK) &&
                outcome_expect(outcome, "mglu_train_reference", mglu_train_reference(train, &args), MGLU_OK);

    mglu_train_destroy(&train);
    for (int i = 0; i < TRAIN_RESULTS && good; i++)
        add_before(problem, oracle, (enum train_result)i);
    return good;
}

/* Gradients of masks that few tokens select, and of columns that few x reach, are mostly 0; of one weight all are. */
static bool may_be_zero(const struct train_case *test, enum train_result result)
{
    return (test->top_k > 0 && test->top_k < test->n_masks) || (test->integers && result != TRAIN_Y) ||
           (test->top_k == 1 && result == TRAIN_DROUTER_LOGITS);
}

static struct expectation expect(const struct train_case *test, const struct oracle *oracle, enum train_result result)
{
    return (struct expectation){.name = train_result_name(result),
                                .dtype = train_dtype(test, result),
                                .rows = train_rows(test, result),
                                .columns = train_columns(test, result),
                                .want = oracle->want[result],
                                .tolerance = oracle->tolerance[result],
                                .exact = train_is_exact(test)};
}

/* Why passing would prove too little, or NULL. Factors of 8 bits leave a wide tolerance: integers prove more there. */
static const char *find_vacuous(const struct train_case *test, const struct oracle *oracle)
{
    const bool narrow = !test->integers && test->dtype == MGLU_DTYPE_F32;
    const char *vacuous = NULL;

    for (int i = 0; i < TRAIN_RESULTS && !vacuous; i++) {
        const struct expectation expected = expect(test, oracle, (enum train_result)i);

        if (train_wants(test, (enum train_result)i) && !may_be_zero(test, (enum train_result)i))
            vacuous = expectation_vacuous(&expected, narrow);
    }
    return vacuous;
}

/* Draws numbers and computes the expected results, several times where passing would prove too little by chance. */
static bool prepare(const struct target *target, const struct test_case *test, struct train_problem *problem,
                    struct oracle *oracle, struct outcome *outcome)
{
    const char *vacuous = NULL;
    char purpose[32];

    for (int attempt = 0; attempt < ATTEMPTS && (attempt == 0 || vacuous); attempt++) {
        if (attempt > 0)
            train_problem_free(problem);
        snprintf(purpose, sizeof purpose, "numbers %d", attempt);
        train_problem_make(problem, test->data, random_for(target, test->name, purpose));
        if (!compute_oracle(target, problem, oracle, outcome))
            return false;
        vacuous = find_vacuous(problem->test, oracle);
    }
    if (vacuous)
        outcome_set(outcome, VERDICT_VACUOUS, "this would prove too little: %s", vacuous);
    return !vacuous;
}

static void name_rho_row(const struct train_case *test, struct outcome *outcome)
{
    snprintf(outcome->rho_row, sizeof outcome->rho_row, "training in %s, W in %s", mglu_dtype_name(test->dtype),
             mglu_dtype_name(test->weight));
}

static void judge(const struct target *target, const struct test_case *test, const struct train_rig *rig,
                  struct outcome *outcome)
{
    struct train_problem problem = {0};
    struct oracle oracle;

    make_oracle(&oracle, test->data);
    if (prepare(target, test, &problem, &oracle, outcome) && train_step(rig, &problem, NULL, outcome))
        for (int i = 0; i < TRAIN_RESULTS; i++) {
            const struct expectation expected = expect(problem.test, &oracle, (enum train_result)i);

            if (train_wants(problem.test, (enum train_result)i))
                compare_rows(&expected, &problem.results[i], outcome);
        }
    if (!train_is_exact(test->data) && outcome->rho >= 0)
        name_rho_row(test->data, outcome);
    free_oracle(&oracle);
    train_problem_free(&problem);
}

void train_run(const struct target *target, const struct test_case *test, struct outcome *outcome)
{
    const struct train_case *step = test->data;
    const mglu_train_desc desc = train_desc(step);
    struct train_rig rig;

    if (train_open(&rig, target->device, &desc, step->batch, outcome))
        judge(target, test, &rig, outcome);
    train_close(&rig);
}
