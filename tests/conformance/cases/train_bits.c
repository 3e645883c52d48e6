/* SPDX-License-Identifier: MIT */
#include "judge/train_bits.h"
#include "cases/pools.h"
#include "cases/train_calls.h"

#include <fenv.h>
#include <pthread.h>

/* Which runs of a step must have the same bits. */

static const mglu_dtype both_dtypes[] = {MGLU_DTYPE_F32, MGLU_DTYPE_BF16};
enum { BOTH = 2 };

/* One step of a case on a device; false when the outcome is set. */
static bool run_bits(mglu_device *device, const struct train_case *test, struct random random,
                     const mglu_parallel *parallel, struct train_bits *bits, struct outcome *outcome)
{
    struct train_problem problem;
    struct train_rig rig;
    bool good;

    train_problem_make(&problem, test, random);
    good =
        train_open(&rig, device, &problem.desc, test->batch, outcome) && train_step(&rig, &problem, parallel, outcome);
    if (good)
        *bits = train_bits_read(&problem);
    train_close(&rig);
    train_problem_free(&problem);
    return good;
}

/* Runs a step again, in another way, and expects the same bits. */
static void expect_again(mglu_device *device, const struct train_case *test, struct random random,
                         const mglu_parallel *parallel, const struct train_bits *want, const char *what,
                         struct outcome *outcome)
{
    struct train_bits got;

    if (outcome->verdict != VERDICT_PASS || !run_bits(device, test, random, parallel, &got, outcome))
        return;
    train_bits_expect(&got, want, what, outcome);
    train_bits_free(&got);
}

/* Some tasks for each thread, and one token alone. */
static struct train_case large_case(mglu_dtype dtype, int number)
{
    struct train_case test = whole_train_case(dtype);

    test.h = 163;
    test.d = 131;
    test.batch = number ? 1 : 35;
    return test;
}

static void same_in_hostile_pools(const struct target *target, struct random random, struct outcome *outcome)
{
    for (int i = 0; i < 2 * BOTH && outcome->verdict == VERDICT_PASS; i++) {
        const struct train_case test = large_case(both_dtypes[i / 2], i % 2);
        struct train_bits want;

        if (!run_bits(target->device, &test, random, NULL, &want, outcome))
            return;
        for (int pool = 0; pool < HOSTILE_POOLS; pool++)
            expect_again(target->device, &test, random, &hostile_pool[pool], &want, "on another thread pool", outcome);
        train_bits_free(&want);
    }
}

/* The target's device in a context with this number of threads of its own. */
static mglu_device *find_on_threads(const struct target *target, int32_t num_threads, mglu_context **context)
{
    const mglu_context_desc desc = {
        .struct_size = sizeof desc, .num_threads = num_threads, .max_isa = target->max_isa, .logger = target->logger};
    mglu_device *device = NULL;

    if (mglu_context_create(&desc, context) != MGLU_OK)
        return NULL;
    if ((target->plugin && mglu_backend_load(*context, target->plugin) != MGLU_OK) ||
        mglu_device_pick(*context, target->info.backend, &device) != MGLU_OK)
        return NULL;
    return device;
}

static void same_on_any_number_of_threads(const struct target *target, struct random random, struct outcome *outcome)
{
    static const int32_t counts[] = {1, 2, 3, 7};

    for (int i = 0; i < BOTH && outcome->verdict == VERDICT_PASS; i++) {
        const struct train_case test = large_case(both_dtypes[i], 0);
        struct train_bits want;

        if (!run_bits(target->device, &test, random, NULL, &want, outcome))
            return;
        for (size_t k = 0; k < sizeof counts / sizeof counts[0]; k++) {
            mglu_context *context = NULL;
            mglu_device *device = find_on_threads(target, counts[k], &context);

            if (device)
                expect_again(device, &test, random, NULL, &want, "on another number of threads", outcome);
            else
                outcome_set(outcome, VERDICT_FAIL, "the device is not in a second context: %s", mglu_last_error());
            mglu_context_destroy(&context);
        }
        train_bits_free(&want);
    }
}

static void same_at_any_address(const struct target *target, struct random random, struct outcome *outcome)
{
    for (int i = 0; i < BOTH && outcome->verdict == VERDICT_PASS; i++) {
        struct train_case test = whole_train_case(both_dtypes[i]);
        struct train_bits want;

        if (!run_bits(target->device, &test, random, NULL, &want, outcome))
            return;
        for (int placement = 0; placement < PLACEMENTS; placement++) {
            test.placement = (enum placement)placement;
            expect_again(target->device, &test, random, NULL, &want, "at other addresses and strides", outcome);
        }
        train_bits_free(&want);
    }
}

/* Rounding up would change every sum, and a flag that is left changed every later one. */
static void expect_same_rounding_up(const struct train_rig *rig, struct train_problem *problem,
                                    const struct train_bits *want, struct outcome *outcome)
{
    const int before = fegetround();
    struct train_bits got;

    fesetround(FE_UPWARD);
    train_step(rig, problem, NULL, outcome);
    if (fegetround() != FE_UPWARD)
        outcome_set(outcome, VERDICT_FAIL, "the caller's rounding mode was changed");
    fesetround(before);
    got = train_bits_read(problem);
    train_bits_expect(&got, want, "where the caller rounds up", outcome);
    train_bits_free(&got);
}

static void same_in_any_rounding_mode(const struct target *target, struct random random, struct outcome *outcome)
{
    for (int i = 0; i < BOTH && outcome->verdict == VERDICT_PASS; i++) {
        const struct train_case test = whole_train_case(both_dtypes[i]);
        struct train_problem problem;
        struct train_rig rig;

        train_problem_make(&problem, &test, random);
        if (train_open(&rig, target->device, &problem.desc, test.batch, outcome) &&
            train_step(&rig, &problem, NULL, outcome)) {
            struct train_bits want = train_bits_read(&problem);

            expect_same_rounding_up(&rig, &problem, &want, outcome);
            train_bits_free(&want);
        }
        train_close(&rig);
        train_problem_free(&problem);
    }
}

/* A thread that shares the plan with another. */
struct sharer {
    struct train_rig rig;
    struct train_problem problem;
    struct train_bits want;
    struct outcome outcome;
    pthread_t thread;
};

enum { SHARERS = 2, STEPS = 8 };

static void *step_again_and_again(void *argument)
{
    struct sharer *sharer = argument;

    for (int i = 0; i < STEPS && train_step(&sharer->rig, &sharer->problem, NULL, &sharer->outcome); i++) {
        struct train_bits got = train_bits_read(&sharer->problem);

        train_bits_expect(&got, &sharer->want, "while another thread trains", &sharer->outcome);
        train_bits_free(&got);
    }
    return NULL;
}

static bool open_sharer(struct sharer *sharer, const struct target *target, const struct train_case *test,
                        struct random random, struct outcome *outcome)
{
    *sharer = (struct sharer){.outcome = {.rho = -1}};
    train_problem_make(&sharer->problem, test, random);
    if (!train_open(&sharer->rig, target->device, &sharer->problem.desc, test->batch, outcome) ||
        !train_step(&sharer->rig, &sharer->problem, NULL, outcome))
        return false;
    sharer->want = train_bits_read(&sharer->problem);
    return true;
}

static void close_sharer(struct sharer *sharer)
{
    train_close(&sharer->rig);
    train_problem_free(&sharer->problem);
    train_bits_free(&sharer->want);
}

static void run_sharers(struct sharer *sharers, struct outcome *outcome)
{
    mglu_train *own = sharers[1].rig.train;
    int started = 0;

    sharers[1].rig.train = sharers[0].rig.train;
    while (started < SHARERS &&
           pthread_create(&sharers[started].thread, NULL, step_again_and_again, &sharers[started]) == 0)
        started++;
    if (started < SHARERS)
        outcome_set(outcome, VERDICT_FAIL, "threads can't be created");
    while (started > 0) {
        struct sharer *sharer = &sharers[--started];

        pthread_join(sharer->thread, NULL);
        outcome_set(outcome, sharer->outcome.verdict, "%.3000s", sharer->outcome.text);
    }
    sharers[1].rig.train = own;
}

static void threads_share_a_plan(const struct target *target, struct random random, struct outcome *outcome)
{
    const struct train_case test = whole_train_case(MGLU_DTYPE_F32);
    struct sharer sharers[SHARERS] = {0};
    struct random other = random;

    other.key++;
    if (open_sharer(&sharers[0], target, &test, random, outcome) &&
        open_sharer(&sharers[1], target, &test, other, outcome))
        run_sharers(sharers, outcome);
    for (int i = 0; i < SHARERS; i++)
        close_sharer(&sharers[i]);
}

const struct train_check train_bit_checks[] = {
    {"same-in-hostile-pools", same_in_hostile_pools}, {"same-on-any-number-of-threads", same_on_any_number_of_threads},
    {"same-at-any-address", same_at_any_address},     {"same-in-any-rounding-mode", same_in_any_rounding_mode},
    {"threads-share-a-plan", threads_share_a_plan},   {NULL, NULL},
};
