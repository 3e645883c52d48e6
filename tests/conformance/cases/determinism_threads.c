/* SPDX-License-Identifier: MIT */
#include "cases/determinism.h"
#include "cases/pools.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The same bits while other threads compute, with any number of threads, and on any thread pool. */

/* Enough calls to outlast a time slice, so that threads overlap even on a busy system. */
enum { CALLERS = 4, CALLS = 128 };

/* One thread that shares weights and layer with the others; queue, workspace and x are its own. */
struct caller {
    struct rig rig;
    struct problem problem;
    unsigned char *want;
    struct outcome outcome;
    pthread_t thread;
};

static void *call_again_and_again(void *argument)
{
    struct caller *caller = argument;

    for (int i = 0; i < CALLS && caller->outcome.verdict == VERDICT_PASS; i++) {
        unsigned char *y = run_on(&caller->rig, &caller->problem, &tight, &caller->outcome);
        if (y)
            expect_same(&caller->outcome, &caller->problem, y, caller->want, NONE, NONE,
                        "when no other thread computes");
        free(y);
    }
    return NULL;
}

static bool open_caller(struct caller *caller, const struct rig *shared, const struct problem *problem, int number,
                        struct outcome *outcome)
{
    size_t count = (size_t)(problem->batch * problem->weights.hidden_size);

    *caller = (struct caller){.rig = *shared, .problem = *problem, .outcome = {.rho = -1}};
    caller->rig.queue = NULL;
    caller->rig.workspace = NULL;
    caller->problem.x = allocate(count * sizeof(float));
    for (size_t i = 0; i < count; i++)
        caller->problem.x[i] = problem->x[i] * (float)(number + 1) / CALLERS;
    if (!outcome_expect(outcome, "mglu_queue_create", mglu_queue_create(shared->device, NULL, &caller->rig.queue),
                        MGLU_OK) ||
        !outcome_expect(
            outcome, "mglu_memory_create",
            mglu_memory_create(shared->device, mglu_layer_workspace_size(shared->layer), &caller->rig.workspace),
            MGLU_OK))
        return false;
    caller->want = run_on(&caller->rig, &caller->problem, &tight, outcome);
    return caller->want != NULL;
}

static void close_caller(struct caller *caller)
{
    mglu_memory_destroy(&caller->rig.workspace);
    mglu_queue_destroy(&caller->rig.queue);
    free(caller->problem.x);
    free(caller->want);
}

static void run_callers(struct caller *callers, struct outcome *outcome)
{
    int started = 0;

    while (started < CALLERS &&
           pthread_create(&callers[started].thread, NULL, call_again_and_again, &callers[started]) == 0)
        started++;
    if (started < 2)
        outcome_set(outcome, VERDICT_FAIL, "threads can't be created");
    for (int i = 0; i < started; i++) {
        pthread_join(callers[i].thread, NULL);
        if (callers[i].outcome.verdict != VERDICT_PASS)
            outcome_set(outcome, callers[i].outcome.verdict, "thread %d of %d: %.3000s", i, started,
                        callers[i].outcome.text);
    }
}

void concurrent(const struct trial *trial)
{
    struct problem problem = sized_problem(trial, 307, 101, 5);
    struct caller callers[CALLERS] = {0};
    struct rig shared;
    bool ready = true;

    if (open_rig(&shared, trial->target->device, &problem, trial->outcome)) {
        for (int i = 0; i < CALLERS && ready; i++)
            ready = open_caller(&callers[i], &shared, &problem, i, trial->outcome);
        if (ready)
            run_callers(callers, trial->outcome);
        for (int i = 0; i < CALLERS; i++)
            close_caller(&callers[i]);
        rig_close(&shared);
    }
    problem_free(&problem);
}

/* The target's device in a context made in another way. */
static mglu_device *find_again(const struct target *target, mglu_context *context)
{
    mglu_device_info info = {.struct_size = sizeof info};
    size_t count = 0;

    if (target->plugin && mglu_backend_load(context, target->plugin) != MGLU_OK)
        return NULL;
    if (mglu_device_count(context, &count) != MGLU_OK)
        return NULL;
    for (size_t i = 0; i < count; i++) {
        mglu_device *device = mglu_device_at(context, i);
        if (mglu_device_get_info(device, &info) == MGLU_OK && info.available &&
            strcmp(info.backend, target->info.backend) == 0 && strcmp(info.name, target->info.name) == 0)
            return device;
    }
    return NULL;
}

unsigned char *run_in_context(const struct trial *trial, const struct problem *problem, mglu_context_desc desc)
{
    mglu_context *context = NULL;
    mglu_device *device = NULL;
    unsigned char *y = NULL;

    desc.struct_size = sizeof desc;
    desc.max_isa = desc.max_isa ? desc.max_isa : trial->target->max_isa;
    desc.logger = trial->target->logger;
    if (outcome_expect(trial->outcome, "mglu_context_create", mglu_context_create(&desc, &context), MGLU_OK))
        device = find_again(trial->target, context);
    if (device)
        y = run_once(device, problem, &tight, trial->outcome);
    else
        outcome_set(trial->outcome, VERDICT_FAIL, "the device is not in a second context: %s", mglu_last_error());
    mglu_context_destroy(&context);
    return y;
}

/* Whether every one of these contexts gives the bits of the first. */
static void compare_batch(const struct trial *trial, const mglu_context_desc *descs, size_t count, int64_t batch)
{
    struct problem problem = sized_problem(trial, 707, 301, batch);
    unsigned char *first;

    first = run_in_context(trial, &problem, descs[0]);
    for (size_t i = 1; first && i < count; i++) {
        unsigned char *y = run_in_context(trial, &problem, descs[i]);
        if (y)
            expect_same(trial->outcome, &problem, y, first, NONE, NONE, "on one thread");
        free(y);
    }
    free(first);
    problem_free(&problem);
}

static void compare_contexts(const struct trial *trial, const mglu_context_desc *descs, size_t count)
{
    if (!is_host_cpu(trial->target)) {
        outcome_set(trial->outcome, VERDICT_UNSUPPORTED, "D1 is promised for CPUs that work in the host's memory");
        return;
    }
    for (int i = 0; i < TOKEN_COUNTS && trial->outcome->verdict == VERDICT_PASS; i++)
        compare_batch(trial, descs, count, token_counts[i]);
}

void thread_counts(const struct trial *trial)
{
    int32_t processors = (int32_t)sysconf(_SC_NPROCESSORS_ONLN);
    const mglu_context_desc descs[] = {
        {.num_threads = 1}, {.num_threads = 2},          {.num_threads = 3},
        {.num_threads = 7}, {.num_threads = processors}, {.num_threads = 2 * processors},
    };

    compare_contexts(trial, descs, sizeof descs / sizeof descs[0]);
}

void hostile_pools(const struct trial *trial)
{
    mglu_context_desc descs[1 + HOSTILE_POOLS] = {{.num_threads = 1}};

    for (int i = 0; i < HOSTILE_POOLS; i++)
        descs[1 + i].parallel = &hostile_pool[i];
    compare_contexts(trial, descs, sizeof descs / sizeof descs[0]);
}
