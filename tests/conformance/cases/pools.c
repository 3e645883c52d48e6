/* SPDX-License-Identifier: MIT */
#include "cases/pools.h"

#include <pthread.h>
#include <stdatomic.h>

enum { POOL_THREADS = 3 };

static void run_backwards(void *user, int64_t count, mglu_task task, void *argument)
{
    for (int64_t i = count; i-- > 0;)
        task(argument, i);
}

static void run_odd_ones_first(void *user, int64_t count, mglu_task task, void *argument)
{
    for (int64_t i = 1; i < count; i += 2)
        task(argument, i);
    for (int64_t i = 0; i < count; i += 2)
        task(argument, i);
}

/* A loop whose tasks several threads fetch from its end, in no particular order. */
struct loop {
    atomic_llong left;
    mglu_task task;
    void *argument;
};

static void *fetch_tasks(void *argument)
{
    struct loop *loop = argument;
    int64_t index;

    while ((index = atomic_fetch_sub(&loop->left, 1) - 1) >= 0)
        loop->task(loop->argument, index);
    return NULL;
}

static void run_on_threads(void *user, int64_t count, mglu_task task, void *argument)
{
    struct loop loop = {.task = task, .argument = argument};
    pthread_t threads[POOL_THREADS];
    int started = 0;

    atomic_init(&loop.left, count);
    while (started < POOL_THREADS && pthread_create(&threads[started], NULL, fetch_tasks, &loop) == 0)
        started++;
    fetch_tasks(&loop);
    while (started > 0)
        pthread_join(threads[--started], NULL);
}

const mglu_parallel hostile_pool[HOSTILE_POOLS] = {
    {.parallel_for = run_backwards}, {.parallel_for = run_odd_ones_first}, {.parallel_for = run_on_threads}};
