/* SPDX-License-Identifier: MIT */
#include "fuzz.h"

#include "judge/compare.h"
#include "problem/fills.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*
 * The input selects a small problem of the conformance suite and the seed of its numbers. It runs on every instruction
 * set of this machine and is compared with the reference backend: exact numbers must give the same bits, others lie
 * within the oracle's tolerance; a reproducible layer gives the same bits on all instruction sets.
 */

enum { MOST_PRODUCTS = 1 << 13 };

static void read_dtypes(struct fuzz_stream *stream, struct grid_case *test)
{
    test->weight = (mglu_dtype)fuzz_below(stream, MGLU_DTYPE_COUNT);
    test->x = (mglu_dtype)fuzz_below(stream, MGLU_DTYPE_BF16 + 1);
    test->y = (mglu_dtype)fuzz_below(stream, MGLU_DTYPE_BF16 + 1);
    test->bits = (enum bits)fuzz_below(stream, mglu_dtype_is_quantised(test->weight) ? BITS : BITS_QUANTISED_X);
    test->activation = (mglu_activation)fuzz_below(stream, MGLU_ACTIVATION_COUNT);
    if (test->activation == MGLU_ACTIVATION_SILU && fuzz_byte(stream) & 1)
        test->silu_beta = 1.5f;
}

static void read_sizes(struct fuzz_stream *stream, struct grid_case *test)
{
    test->h = 1 + fuzz_below(stream, 160);
    test->d = 1 + fuzz_below(stream, 80);
    test->batch = 1 + fuzz_below(stream, 18);
    test->out = fuzz_below(stream, 2) ? 1 + fuzz_below(stream, 40) : 0;
    while (test->h * test->d * test->batch * (test->n_masks + 1) > MOST_PRODUCTS && test->batch > 1)
        test->batch /= 2;
    while (test->h * test->d * test->batch * (test->n_masks + 1) > MOST_PRODUCTS)
        test->d = (test->d + 1) / 2;
}

/* Routing by two masks needs two, and a plain layer has none. */
static enum routing fitting(enum routing routing, int32_t n_masks)
{
    const struct grid_case test = {.routing = routing, .n_masks = n_masks};

    return n_masks > 0 && grid_top_k(&test) <= n_masks ? routing : ROUTING_OFF;
}

static struct grid_case read_case(struct fuzz_stream *stream)
{
    struct grid_case test = {.n_masks = (int32_t)fuzz_below(stream, MGLU_MAX_MASKS + 1)};

    test.kind = test.n_masks ? MGLU_KIND_MASKED : MGLU_KIND_PLAIN;
    read_dtypes(stream, &test);
    read_sizes(stream, &test);
    test.bias = (enum bias)fuzz_below(stream, BIASES);
    test.routing = fitting((enum routing)fuzz_below(stream, ROUTINGS), test.n_masks);
    test.residual = (enum residual)fuzz_below(stream, RESIDUALS);
    test.placement = (enum placement)fuzz_below(stream, PLACEMENTS);
    test.fill = (enum fill)fuzz_below(stream, FILL_EXACT + 1);
    return test;
}

/* What the oracle expects of one problem, and y as the first instruction set computed it. */
struct comparison {
    struct grid_problem problem;
    struct rig oracle;
    double *want, *tolerance;
    unsigned char *first_y; /* NULL before */
};

static void check(const struct outcome *outcome, const struct grid_case *test, const char *isa)
{
    char name[256];

    if (outcome->verdict == VERDICT_PASS)
        return;
    grid_name(test, isa, name, sizeof name);
    fprintf(stderr, "%s: %s\n", name, outcome->text);
    abort();
}

static void ask(struct comparison *comparison, mglu_accuracy accuracy, struct outcome *outcome)
{
    const mglu_forward_args args = grid_problem_args(&comparison->problem, false);

    outcome_expect(
        outcome, "mglu_forward_reference",
        mglu_forward_reference(comparison->oracle.layer, &args, accuracy, comparison->want, comparison->tolerance),
        MGLU_OK);
}

static void forward(struct comparison *comparison, const struct rig *rig, struct outcome *outcome)
{
    mglu_forward_args args = grid_problem_args(&comparison->problem, true);

    args.workspace = mglu_memory_data(rig->workspace);
    args.workspace_size = mglu_memory_size(rig->workspace);
    grid_problem_reset_y(&comparison->problem);
    if (outcome_expect(outcome, "mglu_forward", mglu_forward(rig->layer, rig->queue, &args), MGLU_OK))
        outcome_expect(outcome, "mglu_queue_wait", mglu_queue_wait(rig->queue), MGLU_OK);
}

/* Compares with what the same layer gave before, on another instruction set. */
static void compare_bits(struct comparison *comparison, struct outcome *outcome)
{
    const struct rows *y = &comparison->problem.y;

    if (!comparison->first_y) {
        comparison->first_y = malloc(y->region_size);
        fuzz_require(comparison->first_y != NULL, "out of memory");
        memcpy(comparison->first_y, y->region, y->region_size);
    } else if (memcmp(comparison->first_y, y->region, y->region_size) != 0) {
        outcome_set(outcome, VERDICT_FAIL, "not the bits of %s", fuzz_isas()->name);
    }
}

static void compare(struct comparison *comparison, const struct rig *rig, struct outcome *outcome)
{
    const struct grid_case *test = comparison->problem.test;
    const mglu_accuracy accuracy = mglu_layer_accuracy(rig->layer);

    if (accuracy != MGLU_ACCURACY_A)
        ask(comparison, accuracy, outcome);
    const struct expectation expected = {.dtype = test->y,
                                         .rows = test->batch,
                                         .columns = grid_columns(test),
                                         .want = comparison->want,
                                         .tolerance = comparison->tolerance,
                                         .exact = accuracy != MGLU_ACCURACY_C && grid_is_exact(test)};
    if (outcome->verdict == VERDICT_PASS && rows_check_gaps(&comparison->problem.y, "y", outcome))
        compare_rows(&expected, &comparison->problem.y, outcome);
    if (outcome->verdict == VERDICT_PASS && test->bits == BITS_SAME)
        compare_bits(comparison, outcome);
    if (accuracy != MGLU_ACCURACY_A)
        ask(comparison, MGLU_ACCURACY_A, outcome);
}

static void run_on_isa(struct comparison *comparison, const struct fuzz_isa *isa)
{
    struct outcome outcome = {.rho = -1};
    struct rig rig;

    if (rig_open(&rig, isa->device, &comparison->problem.weights, &comparison->problem.layer, &outcome)) {
        forward(comparison, &rig, &outcome);
        if (outcome.verdict == VERDICT_PASS)
            compare(comparison, &rig, &outcome);
        rig_close(&rig);
    }
    check(&outcome, comparison->problem.test, isa->name);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    struct fuzz_stream stream = {bytes, bytes + size};
    const struct grid_case test = read_case(&stream);
    const struct target target = {.seed = fuzz_number(&stream, 8)};
    const size_t count = (size_t)(test.batch * grid_columns(&test)) * sizeof(double);
    struct comparison comparison = {.want = malloc(count), .tolerance = malloc(count)};
    struct outcome outcome = {.rho = -1};

    fuzz_require(comparison.want && comparison.tolerance, "out of memory");
    grid_problem_make(&comparison.problem, &test, &target, "fuzz", 0);
    if (rig_open(&comparison.oracle, fuzz_device("ref"), &comparison.problem.weights, &comparison.problem.layer,
                 &outcome))
        ask(&comparison, MGLU_ACCURACY_A, &outcome);
    check(&outcome, &test, "ref");
    /* Where two masks have nearly the same logit, rounding may select either. */
    for (const struct fuzz_isa *isa = fuzz_isas(); isa->device && comparison.problem.routing_is_clear; isa++)
        run_on_isa(&comparison, isa);
    rig_close(&comparison.oracle);
    grid_problem_free(&comparison.problem);
    free(comparison.first_y);
    free(comparison.want);
    free(comparison.tolerance);
    return 0;
}
