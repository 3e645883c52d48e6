/* SPDX-License-Identifier: MIT */
#include "pool.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>

/** Enough for a task (docs/embedding.md), also with a sanitizer; the system's default is 8 MiB of address space. */
enum { STACK_BYTES = 512 << 10 };

/**
 * How often a thread looks before it sleeps: 50 microseconds or less. The loops of a forward follow each other at once,
 * and waking a thread takes as long, in a virtual machine longer. Threads that look longer hinder others.
 */
enum { LOOKS = 1500 };

/** Tasks are taken one by one, since cores differ in speed and are shared with other processes. */
struct pool {
    pthread_mutex_t lock;
    pthread_cond_t begun, finished;
    bool is_busy, is_ending;
    atomic_int working; /**< threads that run tasks of the loop, without the caller */
    atomic_int loops;   /**< begun so far, modulo 2^32 */
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

/** Tells the processor that this is a loop that waits, so that it leaves more to the core's other thread. */
static void relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("isb");
#endif
}

/** Looks for the next loop without the lock, then sleeps until there is one. */
static void await_loop(struct pool *pool, int seen)
{
    pthread_mutex_unlock(&pool->lock);
    for (int i = 0; i < LOOKS && pool->loops == seen; i++)
        relax();
    pthread_mutex_lock(&pool->lock);
    while (!pool->is_ending && pool->loops == seen)
        pthread_cond_wait(&pool->begun, &pool->lock);
}

/** Runs tasks while loops have any. */
static void *work(void *argument)
{
    struct pool *pool = argument;
    pthread_mutex_lock(&pool->lock);
    while (!pool->is_ending) {
        const int seen = pool->loops;
        if (atomic_load(&pool->next) >= pool->count) {
            await_loop(pool, seen);
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
        pool->loops++;
    }
    pthread_mutex_unlock(&pool->lock);
    if (is_free)
        pthread_cond_broadcast(&pool->begun);
    return is_free;
}

/** Waits for the threads that have begun; the others find no tasks left. */
static void end_loop(struct pool *pool)
{
    for (int i = 0; i < LOOKS && pool->working > 0; i++)
        relax();
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
    if (!pool)
        return (mglu_parallel){0};
    return (mglu_parallel){.user = pool, .parallel_for = parallel_for, .num_threads = pool_threads(pool)};
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
