/* SPDX-License-Identifier: MIT */
#include "cases/groups.h"
#include "judge/grid.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/*
 * Probe columns: column 0 of W is 1 and always a gate's, column 1 is 1 and always a value's, and token k's x is e_0 + 2
 * e_1 + e_k. With the identity, mask i then adds p_i 2 (1 + w) where M_i[r][k] is 1 and p_i (2 + w) where it is 0; and
 * since p_i = 2^-i, y[k][r] determines w and every mask's bit at [r][k]. A gate or value that lacks its own column
 * would be 0 for all k and show nothing.
 */

enum { FIRST_PROBED = 2, ROWS = 5 };

static void write_weights(struct grid_problem *problem, struct random *random)
{
    static const float weights[] = {1, 2, -3};
    const struct grid_case *test = problem->test;
    float *numbers = malloc((size_t)(test->d * test->h) * sizeof *numbers);

    if (!numbers)
        exit(EXIT_FAILURE);
    for (int64_t i = 0; i < test->d * test->h; i++)
        numbers[i] = i % test->h < FIRST_PROBED ? 1 : weights[random_u64(random) % 3];
    grid_problem_set_weight(problem, numbers, random);
    free(numbers);
}

static void write_masks(struct grid_problem *problem)
{
    struct rows *masks = problem->masks;

    for (int64_t row = 0; row < masks->count; row++) {
        rows_at(masks, row)[0] = 1;
        rows_at(masks, row)[1] = 0;
    }
}

static void write_x(struct grid_problem *problem)
{
    const struct grid_case *test = problem->test;
    float *numbers = calloc((size_t)(test->batch * test->h), sizeof *numbers);

    if (!numbers)
        exit(EXIT_FAILURE);
    for (int64_t token = 0; token < test->batch; token++) {
        float *row = numbers + token * test->h;
        row[0] = 1;
        row[1] = 2;
        row[FIRST_PROBED + token] = 1;
    }
    rows_write(&problem->x, test->x, numbers);
    free(numbers);
}

static void write_p(struct grid_problem *problem)
{
    for (int64_t token = 0; token < problem->p.count; token++)
        for (size_t term = 0; term < (size_t)problem->p.columns; term++) {
            int32_t id;
            float p;

            memcpy(&id, rows_at(&problem->ids, token) + term * sizeof id, sizeof id);
            p = ldexpf(1, -id);
            memcpy(rows_at(&problem->p, token) + term * sizeof p, &p, sizeof p);
        }
}

static void make(struct grid_problem *problem, const struct grid_case *test, const struct target *target,
                 const char *name, int attempt)
{
    struct random random = random_for(target, name, "probes");

    grid_problem_make(problem, test, target, name, attempt);
    write_weights(problem, &random);
    write_masks(problem);
    write_x(problem);
    write_p(problem);
}

static void list(case_sink *sink, void *user)
{
    enum { TYPES = 5, SIZES = 9, COUNTS = 6 };
    static const mglu_dtype types[TYPES][2] = {{MGLU_DTYPE_F32, MGLU_DTYPE_F32},
                                               {MGLU_DTYPE_F16, MGLU_DTYPE_F16},
                                               {MGLU_DTYPE_BF16, MGLU_DTYPE_BF16},
                                               {MGLU_DTYPE_Q8_0, MGLU_DTYPE_F32},
                                               {MGLU_DTYPE_Q4_0, MGLU_DTYPE_F16}};
    static const int sizes[SIZES] = {3, 31, 32, 33, 64, 65, 129, 257, 1000}, counts[COUNTS] = {1, 2, 7, 8, 9, 16};
    static struct grid_case table[TYPES * SIZES * COUNTS];
    struct grid_case *next = table;

    for (int t = 0; t < TYPES; t++)
        for (int s = 0; s < SIZES; s++)
            for (int c = 0; c < COUNTS; c++, next++) {
                *next = (struct grid_case){.weight = types[t][0],
                                           .x = types[t][1],
                                           .n_masks = counts[c],
                                           .activation = MGLU_ACTIVATION_IDENTITY,
                                           .h = sizes[s],
                                           .d = ROWS,
                                           .batch = sizes[s] - FIRST_PROBED,
                                           .routing = ROUTING_ALL,
                                           .placement = (enum placement)((s + c) % PLACEMENTS),
                                           .fill = FILL_PROBES};
                /* Quantised weights have other bytes, not other masks. */
                bool quick = sizes[s] < 1000 && (!mglu_dtype_is_quantised(types[t][0]) || counts[c] % 7 == 2);
                grid_emit(next, "probes", quick ? TIER_QUICK : TIER_FULL, sink, user);
            }
}

static void run(const struct target *target, const struct test_case *test, struct outcome *outcome)
{
    grid_run_with(make, target, test, outcome);
}

const struct group group_probes = {"probes", "every weight and every mask bit separately", list, run};
