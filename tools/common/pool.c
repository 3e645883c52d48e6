/* SPDX-License-Identifier: MIT */
#include "pool.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>

/** Enough for a task (docs/embedding.md), also with a sanitizer; the system's default is 8 MiB of address space. */
enum { STACK_BYTES = 512 << 10 };

/** Tasks are taken one by one, since cores differ in speed and are shared with other processes. */
struct pool {
    pthread_mutex_t lock;
    pthread_cond_t begun, finished;
    bool is_busy, is_ending;
    int working; /**< threads that run tasks of the loop, without the caller */
    atomic_llong next;
    int64_t count;
    mglu_task task;
    void *argument;
    int workers;
    pthread_t threads[];
};

static void run_tasks(struct pool *pool)
{
    int64_t index;
    while ((index = atomic_fetch_add_explicit(&pool->next, 1, memory_order_relaxed)) < pool->count)
        pool->task(pool->argument, index);
}

/** Sleeps until a loop has tasks left. */
static void *work(void *argument)
{
    struct pool *pool = argument;
    pthread_mutex_lock(&pool->lock);
    while (!pool->is_ending) {
        if (atomic_load(&pool->next) >= pool->count) {
            pthread_cond_wait(&pool->begun, &pool->lock);
            continue;
        }
        pool->working++;
        pthread_mutex_unlock(&pool->lock);
        run_tasks(pool);
        pthread_mutex_lock(&pool->lock);
        if (--pool->working == 0)
            pthread_cond_signal(&pool->finished);
    }
    pthread_mutex_unlock(&pool->lock);
    return NULL;
}

/** False where the pool runs a loop already: of another thread, or the one around this call. */
static bool begin_loop(struct pool *pool, int64_t count, mglu_task task, void *argument)
{
    pthread_mutex_lock(&pool->lock);
    const bool is_free = !pool->is_busy;
    if (is_free) {
        pool->is_busy = true;
        pool->task = task;
        pool->argument = argument;
        pool->count = count;
        atomic_store(&pool->next, 0);
    }
    pthread_mutex_unlock(&pool->lock);
    if (is_free)
        pthread_cond_broadcast(&pool->begun);
    return is_free;
}

/** Waits for the threads that have begun; the others find no tasks left. */
static void end_loop(struct pool *pool)
{
    pthread_mutex_lock(&pool->lock);
    while (pool->working > 0)
        pthread_cond_wait(&pool->finished, &pool->lock);
    pool->is_busy = false;
    pthread_mutex_unlock(&pool->lock);
}

static void parallel_for(void *user, int64_t count, mglu_task task, void *argument)
{
    struct pool *pool = user;
    if (count > 1 && begin_loop(pool, count, task, argument)) {
        run_tasks(pool);
        end_loop(pool);
        return;
    }
    for (int64_t i = 0; i < count; i++)
        task(argument, i);
}

/** Makes the threads that can be made, `most` at most. */
static void start_threads(struct pool *pool, int most)
{
    pthread_attr_t attributes;

    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->begun, NULL);
    pthread_cond_init(&pool->finished, NULL);
    pool->workers = 0;
    if (pthread_attr_init(&attributes) != 0)
        return;
    pthread_attr_setstacksize(&attributes, STACK_BYTES);
    while (pool->workers < most && pthread_create(&pool->threads[pool->workers], &attributes, work, pool) == 0)
        pool->workers++;
    pthread_attr_destroy(&attributes);
}

struct pool *pool_create(int threads)
{
    struct pool *pool = calloc(1, sizeof *pool + (size_t)threads * sizeof pool->threads[0]);

    if (pool)
        start_threads(pool, threads - 1);
    return pool;
}

void pool_restart(struct pool *pool)
{
    pool->is_busy = false;
    pool->working = 0;
    pool->count = 0;
    atomic_store(&pool->next, 0);
    start_threads(pool, pool->workers);
}

int pool_threads(const struct pool *pool)
{
    return pool->workers + 1;
}

mglu_parallel pool_hook(struct pool *pool)
{
    return (mglu_parallel){.user = pool, .parallel_for = parallel_for};
}

void pool_destroy(struct pool *pool)
{
    if (!pool)
        return;
    pthread_mutex_lock(&pool->lock);
    pool->is_ending = true;
    pthread_mutex_unlock(&pool->lock);
    pthread_cond_broadcast(&pool->begun);
    for (int i = 0; i < pool->workers; i++)
        pthread_join(pool->threads[i], NULL);
    pthread_cond_destroy(&pool->begun);
    pthread_cond_destroy(&pool->finished);
    pthread_mutex_destroy(&pool->lock);
    free(pool);
}
