/* SPDX-License-Identifier: MIT */
#include "cases/special.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Rows 12 to 14: sizes of 0, and invalid numbers of masks. */

static mglu_status forward(const struct rig *rig, int64_t batch, void *y)
{
    const mglu_forward_args args = {.struct_size = sizeof args, .batch = batch, .y = {.data = y}};
    mglu_status status = mglu_forward(rig->layer, rig->queue, &args);

    return status == MGLU_OK ? mglu_queue_wait(rig->queue) : status;
}

/* Neither pointers nor a workspace are needed, and y is not written. */
static void batch_zero(const struct trial *trial)
{
    struct problem problem = special_problem(trial, 7, PART_BIASES | PART_ROUTER);
    struct rig rig;

    problem.layer.top_k = 2;
    if (open_rig(&rig, trial->target->device, &problem, trial->outcome)) {
        outcome_expect(trial->outcome, "mglu_forward with batch 0", forward(&rig, 0, NULL), MGLU_OK);
        problem.batch = 0;
        free(run_on(&rig, &problem, &tight, trial->outcome));
        problem.batch = 3;
        rig_close(&rig);
    }
    problem_free(&problem);
}

static struct problem without_rows(const struct trial *trial, int64_t out, unsigned parts)
{
    const struct shape shape = {.dtypes = trial->dtypes,
                                .activation = trial->activation,
                                .h = 35,
                                .out = out,
                                .n_masks = 3,
                                .top_k = 2,
                                .batch = 3,
                                .parts = parts};

    return problem_make(&shape, trial->random);
}

static void d_zero(const struct trial *trial)
{
    struct problem problem = without_rows(trial, 0, PART_ROUTER);
    struct rig rig;

    problem.weights.weight.data = NULL;
    problem.weights.masks.data = NULL;
    if (open_rig(&rig, trial->target->device, &problem, trial->outcome)) {
        outcome_expect(trial->outcome, "mglu_forward with d = 0", forward(&rig, 3, NULL), MGLU_OK);
        rig_close(&rig);
    }
    problem_free(&problem);
}

/* y = down_bias + residual, though the routing's weights are NaN and x has infinities. */
static void d_zero_with_down(const struct trial *trial)
{
    for (unsigned parts = 0; parts < 8; parts++) {
        struct problem problem = without_rows(trial, 7, parts);
        *x_at(&problem, 1, 3) = INFINITY;
        for (int64_t i = 0; i < 6 && problem.p; i++)
            problem.p[i] = NAN;
        problem.weights.down.data = NULL;
        for (int64_t i = 0; i < 7 && problem.down_bias; i++)
            problem.down_bias[i] = (float)(i + 1);
        for (int64_t i = 0; i < 21 && problem.residual; i++)
            problem.residual[i] = (float)(10 * i);
        unsigned char *y = special_run(trial, &problem);
        for (int64_t i = 0; y && i < 21; i++)
            expect_value(trial->outcome, &problem, y, i / 7, i % 7,
                         (double)((problem.down_bias ? i % 7 + 1 : 0) + (problem.residual ? 10 * i : 0)));
        free(y);
        problem_free(&problem);
    }
}

/* All sums are 0, with every combination of parts; y is then determined by them alone. */
static void h_zero(const struct trial *trial)
{
    for (unsigned parts = 0; parts < 8; parts++)
        for (int64_t out = 0; out <= 7; out += 7) {
            const struct shape shape = {.dtypes = trial->dtypes,
                                        .activation = trial->activation,
                                        .d = 19,
                                        .out = out,
                                        .n_masks = 3,
                                        .top_k = parts & PART_ROUTER ? 2 : 0,
                                        .batch = 2,
                                        .parts = parts};
            struct problem problem = problem_make(&shape, trial->random);
            problem.weights.weight.data = NULL;
            problem.weights.masks.data = NULL;
            check_with_oracle(trial->target, &problem, trial->outcome);
            problem_free(&problem);
        }
}

static void no_such_number_of_masks(const struct trial *trial)
{
    static const int32_t numbers[] = {0, 17, -1, INT32_MIN, INT32_MAX};

    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        struct problem problem = special_problem(trial, 0, 0);
        mglu_weights *weights = NULL;
        problem.weights.n_masks = numbers[i];
        outcome_expect(trial->outcome, "mglu_weights_create",
                       mglu_weights_create(trial->target->device, &problem.weights, &weights),
                       MGLU_ERROR_INVALID_ARGUMENT);
        outcome_expect(trial->outcome, "mglu_supports",
                       mglu_supports(trial->target->device, &problem.weights, &problem.layer),
                       MGLU_ERROR_INVALID_ARGUMENT);
        mglu_weights_destroy(&weights);
        problem_free(&problem);
    }
}

static void sixteen_masks(const struct trial *trial)
{
    const struct shape shape = {.dtypes = trial->dtypes,
                                .activation = trial->activation,
                                .h = 35,
                                .d = 9,
                                .n_masks = 16,
                                .batch = 2,
                                .parts = PART_BIASES};
    struct problem problem = problem_make(&shape, trial->random);

    check_with_oracle(trial->target, &problem, trial->outcome);
    problem_free(&problem);
}

const struct special_check shape_checks[] = {
    {"12-batch-0", PER_DTYPE | QUANTISED, batch_zero},
    {"12-d-0", PER_DTYPE | QUANTISED, d_zero},
    {"12-d-0-with-down", PER_DTYPE | QUANTISED, d_zero_with_down},
    {"13-h-0", PER_DTYPE | QUANTISED | PER_ACTIVATION, h_zero},
    {"14-no-such-number-of-masks", 0, no_such_number_of_masks},
    {"14-sixteen-masks", PER_DTYPE | QUANTISED, sixteen_masks},
    {NULL, 0, NULL},
};
