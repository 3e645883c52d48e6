/* SPDX-License-Identifier: MIT */
#include "cases/determinism.h"
#include "cases/groups.h"

#include <stdlib.h>
#include <string.h>

/* Levels D0 to D4 of docs/semantics.md, "Determinism": the bits of a run are compared with those of the first run. */

enum { REPEATS = 100, MOST_TOKENS = 129 };

const int64_t token_counts[TOKEN_COUNTS] = {1, 5, 70};

bool is_host_cpu(const struct target *target)
{
    return target->info.type == MGLU_DEVICE_CPU && target->info.host_memory;
}

struct problem sized_problem(const struct trial *trial, int64_t h, int64_t d, int64_t batch)
{
    const struct shape shape = {.dtypes = trial->dtypes,
                                .activation = trial->activation,
                                .h = h,
                                .d = d,
                                .out = 31,
                                .n_masks = 3,
                                .batch = batch,
                                .parts = PART_BIASES};

    return problem_make(&shape, trial->random);
}

static void repeat_batch(const struct trial *trial, int64_t batch)
{
    struct problem problem = sized_problem(trial, 307, 101, batch);
    unsigned char *first = NULL;
    struct rig rig;

    if (open_rig(&rig, trial->target->device, &problem, trial->outcome)) {
        for (int i = 0; i < REPEATS && trial->outcome->verdict == VERDICT_PASS; i++) {
            unsigned char *y = run_on(&rig, &problem, &tight, trial->outcome);
            if (y && first)
                expect_same(trial->outcome, &problem, y, first, NONE, NONE, "in the first run");
            free(first ? y : NULL);
            first = first ? first : y;
        }
        rig_close(&rig);
    }
    free(first);
    problem_free(&problem);
}

static void repeat(const struct trial *trial)
{
    for (int i = 0; i < TOKEN_COUNTS && trial->outcome->verdict == VERDICT_PASS; i++)
        repeat_batch(trial, token_counts[i]);
}

/* Offsets and gaps in elements, so that every possible alignment of an element occurs. */
static void addresses(const struct trial *trial)
{
    static const int64_t gaps[] = {0, 1, 5, 29, 64};
    const struct shape shape = {.dtypes = trial->dtypes,
                                .activation = trial->activation,
                                .h = 99,
                                .d = 37,
                                .n_masks = 5,
                                .top_k = 3,
                                .batch = 4,
                                .parts = PART_BIASES | PART_RESIDUAL};
    struct problem problem = problem_make(&shape, trial->random);
    unsigned char *first = run_once(trial->target->device, &problem, &tight, trial->outcome);

    for (int64_t offset = 0; first && offset < 34; offset++) {
        struct layout layout = {.offset = offset, .gap = gaps[offset % 5], .fill = 0xa5};
        unsigned char *y = run_once(trial->target->device, &problem, &layout, trial->outcome);
        if (y)
            expect_same(trial->outcome, &problem, y, first, NONE, NONE, "at another address");
        free(y);
    }
    free(first);
    problem_free(&problem);
}

/* Batches of one size that begin at different tokens: a token has the same bits at every index in a batch. */
static void expect_same_elsewhere(const struct trial *trial, const struct rig *rig, const struct problem *problem,
                                  int64_t tokens)
{
    static const int64_t firsts[] = {0, 1, 2, 5, 11};
    const size_t row = (size_t)problem->columns * mglu_dtype_size(problem->layer.y_dtype);
    unsigned char *base = NULL;

    for (size_t i = 0; i < sizeof firsts / sizeof firsts[0] && trial->outcome->verdict == VERDICT_PASS; i++) {
        const struct layout layout = {.fill = 0xff, .first = firsts[i], .tokens = tokens};
        unsigned char *y = run_on(rig, problem, &layout, trial->outcome);
        struct problem shared = *problem;
        shared.batch = tokens - firsts[i];
        if (y && base && shared.batch > 0)
            expect_same(trial->outcome, &shared, y, base + (size_t)firsts[i] * row, NONE, NONE,
                        "at another index in the batch");
        free(base ? y : NULL);
        base = base ? base : y;
    }
    free(base);
}

static void places(const struct trial *trial)
{
    static const int64_t sizes[] = {3, 13, 64, MOST_TOKENS};
    const struct shape shape = {.dtypes = trial->dtypes,
                                .activation = trial->activation,
                                .h = 67,
                                .d = 37,
                                .out = 19,
                                .n_masks = 4,
                                .top_k = 2,
                                .batch = MOST_TOKENS + 11,
                                .parts = PART_ROUTER};
    struct problem problem = problem_make(&shape, trial->random);
    struct rig rig;

    if (open_rig(&rig, trial->target->device, &problem, trial->outcome)) {
        for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
            expect_same_elsewhere(trial, &rig, &problem, sizes[i]);
        rig_close(&rig);
    }
    problem_free(&problem);
}

static void instruction_sets(const struct trial *trial)
{
    const struct shape shape = {.dtypes = trial->dtypes,
                                .activation = trial->activation,
                                .h = 333,
                                .d = 19,
                                .out = 7,
                                .n_masks = 9,
                                .top_k = 4,
                                .batch = 2,
                                .parts = PART_BIASES | PART_ROUTER};
    const char *const *isas = trial->target->info.instruction_sets;
    struct problem problem = problem_make(&shape, trial->random);
    unsigned char *first;

    if (!isas[0]) {
        outcome_set(trial->outcome, VERDICT_UNSUPPORTED, "D3 is promised where a device has several instruction sets");
        problem_free(&problem);
        return;
    }
    problem.layer.flags = MGLU_LAYER_REPRODUCIBLE;
    first = run_once(trial->target->device, &problem, &tight, trial->outcome);
    for (size_t i = 0; first && isas[i]; i++) {
        unsigned char *y = run_in_context(trial, &problem, (mglu_context_desc){.max_isa = isas[i], .num_threads = 1});
        if (y)
            expect_same(trial->outcome, &problem, y, first, NONE, NONE, "without a cap of the instruction set");
        free(y);
    }
    free(first);
    problem_free(&problem);
}

/* A batch of `tokens` that begins at `first`, compared with the same tokens one by one. */
static void expect_singles(const struct trial *trial, const struct rig *rig, const struct problem *problem,
                           const unsigned char *singles, int64_t first, int64_t tokens)
{
    const struct layout layout = {.fill = 0xff, .first = first, .tokens = tokens};
    unsigned char *y = run_on(rig, problem, &layout, trial->outcome);
    struct problem part = *problem;

    part.batch = tokens;
    if (y)
        expect_same(trial->outcome, &part, y,
                    singles + (size_t)(first * problem->columns) * mglu_dtype_size(problem->layer.y_dtype), NONE, NONE,
                    "alone, as a batch of 1");
    free(y);
}

static void compare_batches(const struct trial *trial, const struct rig *rig, const struct problem *problem)
{
    size_t row = (size_t)problem->columns * mglu_dtype_size(problem->layer.y_dtype);
    unsigned char *singles = allocate(MOST_TOKENS * row);

    for (int64_t token = 0; token < MOST_TOKENS && trial->outcome->verdict == VERDICT_PASS; token++) {
        const struct layout layout = {.fill = 0xff, .first = token, .tokens = 1};
        unsigned char *y = run_on(rig, problem, &layout, trial->outcome);
        if (y)
            memcpy(singles + (size_t)token * row, y, row);
        free(y);
    }
    for (int64_t tokens = 1; tokens <= MOST_TOKENS && trial->outcome->verdict == VERDICT_PASS; tokens++)
        expect_singles(trial, rig, problem, singles, tokens % 2 ? 0 : MOST_TOKENS - tokens, tokens);
    free(singles);
}

static void batches(const struct trial *trial)
{
    const struct shape shape = {.dtypes = trial->dtypes,
                                .activation = trial->activation,
                                .h = 67,
                                .d = 21,
                                .out = 5,
                                .n_masks = 4,
                                .top_k = 2,
                                .batch = MOST_TOKENS,
                                .parts = PART_ROUTER};
    struct problem problem = problem_make(&shape, trial->random);
    struct rig rig;

    problem.layer.flags = MGLU_LAYER_REPRODUCIBLE;
    if (open_rig(&rig, trial->target->device, &problem, trial->outcome)) {
        compare_batches(trial, &rig, &problem);
        rig_close(&rig);
    }
    problem_free(&problem);
}

static const struct {
    const char *name;
    bool per_activation;
    void (*run)(const struct trial *trial);
} levels[] = {
    {"D0-repeats", false, repeat},
    {"D0-concurrent", false, concurrent},
    {"D1-threads", false, thread_counts},
    {"D1-hostile-pool", false, hostile_pools},
    {"D2-addresses", true, addresses},
    {"D2-places", false, places},
    {"D3-instruction-sets", true, instruction_sets},
    {"D4-batches", false, batches},
};

static void list_determinism(case_sink *sink, void *user)
{
    for (size_t level = 0; level < sizeof levels / sizeof levels[0]; level++)
        for (size_t i = 0; i < DTYPE_SETS; i++)
            for (size_t a = 0; a < (levels[level].per_activation ? ACTIVATIONS : 1); a++)
                if (worth_a_case(i, a))
                    list_case(sink, user, TIER_QUICK, trial_number(level, i, a), "determinism/%s/%s/%s",
                              levels[level].name, dtype_sets[i].name, mglu_activation_name((mglu_activation)a));
}

static void run_determinism(const struct target *target, const struct test_case *test, struct outcome *outcome)
{
    const struct trial trial = trial_of(target, test, outcome);

    levels[trial.kind].run(&trial);
}

const struct group group_determinism = {
    "determinism",
    "the same bits where docs/semantics.md promises them",
    list_determinism,
    run_determinism,
};
