/* SPDX-License-Identifier: MIT */
#include "judge/expect.h"

#include "problem/forward.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* What y of a small problem is compared with: other runs, single values, the reference. */

static size_t element_size(const struct problem *problem)
{
    return mglu_dtype_size(problem->layer.y_dtype);
}

static const unsigned char *address(const struct problem *problem, const unsigned char *y, int64_t row, int64_t column)
{
    return y + (size_t)(row * problem->columns + column) * element_size(problem);
}

float y_at(const struct problem *problem, const unsigned char *y, int64_t row, int64_t column)
{
    float value;

    if (mglu_convert(address(problem, y, row, column), problem->layer.y_dtype, &value, MGLU_DTYPE_F32, 1) != MGLU_OK)
        return NAN;
    return value;
}

bool expect_same(struct outcome *outcome, const struct problem *problem, const unsigned char *got,
                 const unsigned char *want, int64_t skip_row, int64_t skip_column, const char *what)
{
    for (int64_t r = 0; r < problem->batch; r++)
        for (int64_t c = 0; c < problem->columns; c++) {
            if (r == skip_row || c == skip_column ||
                memcmp(address(problem, got, r, c), address(problem, want, r, c), element_size(problem)) == 0)
                continue;
            outcome_set(outcome, VERDICT_FAIL, "y[%lld][%lld] = %.9g, but %.9g %s: the bits must be the same",
                        (long long)r, (long long)c, (double)y_at(problem, got, r, c), (double)y_at(problem, want, r, c),
                        what);
            return false;
        }
    return true;
}

bool expect_nan(struct outcome *outcome, const struct problem *problem, const unsigned char *got, int64_t row,
                int64_t column)
{
    for (int64_t r = 0; r < problem->batch; r++)
        for (int64_t c = 0; c < problem->columns; c++) {
            if ((row != ALL && r != row) || (column != ALL && c != column) || isnan(y_at(problem, got, r, c)))
                continue;
            outcome_set(outcome, VERDICT_FAIL, "y[%lld][%lld] = %.9g, must be NaN", (long long)r, (long long)c,
                        (double)y_at(problem, got, r, c));
            return false;
        }
    return true;
}

bool expect_value(struct outcome *outcome, const struct problem *problem, const unsigned char *got, int64_t row,
                  int64_t column, double want)
{
    double value = (double)y_at(problem, got, row, column);

    if (isnan(want) ? isnan(value) : value == want)
        return true;
    outcome_set(outcome, VERDICT_FAIL, "y[%lld][%lld] = %.9g, must be %.9g", (long long)row, (long long)column, value,
                want);
    return false;
}

/* `count` floats as `dtype`, to be freed; NULL for NULL. */
static void *stored(const float *floats, mglu_dtype dtype, int64_t count)
{
    void *array;

    if (!floats)
        return NULL;
    array = allocate((size_t)count * sizeof(float));
    if (mglu_convert(floats, MGLU_DTYPE_F32, array, dtype, (size_t)count) != MGLU_OK)
        memset(array, 0xff, (size_t)count * sizeof(float));
    return array;
}

static bool ask(struct oracle *oracle, const struct rig *rig, const struct problem *problem, mglu_accuracy accuracy,
                struct outcome *outcome)
{
    int64_t count = problem->batch * problem->columns;
    void *x = stored(problem->x, problem->layer.x_dtype, problem->batch * problem->weights.hidden_size);
    void *residual = stored(problem->residual, problem->layer.y_dtype, count);
    mglu_forward_args args = {.struct_size = sizeof args,
                              .batch = problem->batch,
                              .x = {.data = x},
                              .residual = {.data = residual},
                              .routing_ids = {.data = problem->ids},
                              .routing_weights = {.data = problem->p}};
    bool answered;

    oracle->want = allocate((size_t)count * sizeof(double));
    oracle->tolerance = allocate((size_t)count * sizeof(double));
    answered =
        outcome_expect(outcome, "mglu_forward_reference",
                       mglu_forward_reference(rig->layer, &args, accuracy, oracle->want, oracle->tolerance), MGLU_OK);
    free(x);
    free(residual);
    return answered;
}

bool compute_oracle(struct oracle *oracle, const struct target *target, const struct problem *problem,
                    mglu_accuracy accuracy, struct outcome *outcome)
{
    struct rig rig;
    bool answered;

    *oracle = (struct oracle){0};
    if (!open_rig(&rig, target->reference, problem, outcome))
        return false;
    answered = ask(oracle, &rig, problem, accuracy, outcome);
    rig_close(&rig);
    if (!answered)
        free_oracle(oracle);
    return answered;
}

void free_oracle(struct oracle *oracle)
{
    free(oracle->want);
    free(oracle->tolerance);
    *oracle = (struct oracle){0};
}

/* The smallest magnitude that becomes infinite in y's dtype. */
static const double overflow[] = {
    [MGLU_DTYPE_F32] = 0x1.ffffffp+127, [MGLU_DTYPE_F16] = 65520, [MGLU_DTYPE_BF16] = 0x1.ffp+127};

static bool is_close(double got, double want, double tolerance, mglu_dtype dtype, struct outcome *outcome)
{
    double rho = fabs(got - want) / tolerance;

    if (isnan(want) || isnan(got))
        return isnan(want) && isnan(got);
    if (isinf(want) || got == want)
        return got == want;
    if (isinf(got))
        return fabs(want) + tolerance >= overflow[dtype] && signbit(got) == signbit(want);
    if (rho > outcome->rho)
        outcome->rho = rho;
    return rho <= 1;
}

void compare_with_oracle(const struct oracle *oracle, const struct problem *problem, const unsigned char *y,
                         struct outcome *outcome)
{
    for (int64_t r = 0; r < problem->batch; r++)
        for (int64_t c = 0; c < problem->columns; c++) {
            int64_t at = r * problem->columns + c;
            double got = (double)y_at(problem, y, r, c);
            if (!is_close(got, oracle->want[at], oracle->tolerance[at], problem->layer.y_dtype, outcome)) {
                outcome_set(outcome, VERDICT_FAIL, "y[%lld][%lld] = %.9g, want %.9g, tolerance %.3g", (long long)r,
                            (long long)c, got, oracle->want[at], oracle->tolerance[at]);
                return;
            }
        }
}

void check_with_oracle(const struct target *target, const struct problem *problem, struct outcome *outcome)
{
    struct oracle oracle;
    unsigned char *y;
    struct rig rig;

    if (!open_rig(&rig, target->device, problem, outcome))
        return;
    y = run_on(&rig, problem, &tight, outcome);
    if (y && compute_oracle(&oracle, target, problem, mglu_layer_accuracy(rig.layer), outcome)) {
        compare_with_oracle(&oracle, problem, y, outcome);
        free_oracle(&oracle);
    }
    free(y);
    rig_close(&rig);
}
