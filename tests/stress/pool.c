/* SPDX-License-Identifier: MIT */
#include "pool.h"

#include "require.h"

#include <pthread.h>
#include <stdlib.h>

/* A loop is in the list while it has tasks that no thread has taken. */
struct loop {
    struct loop *after;
    int64_t next, count, running;
    mglu_task task;
    void *argument;
};

struct pool {
    pthread_mutex_t lock;
    pthread_cond_t has_work, one_done;
    struct loop *first;
    bool ending;
    int count;
    pthread_t threads[];
};

static void unlink_loop(struct pool *pool, const struct loop *loop)
{
    struct loop **place = &pool->first;

    while (*place != loop)
        place = &(*place)->after;
    *place = loop->after;
}

/* Runs the next task of a loop in the list; the lock is held before and after. */
static void run_next(struct pool *pool, struct loop *loop)
{
    int64_t index = loop->next++;

    if (loop->next == loop->count)
        unlink_loop(pool, loop);
    loop->running++;
    pthread_mutex_unlock(&pool->lock);
    loop->task(loop->argument, index);
    pthread_mutex_lock(&pool->lock);
    if (--loop->running == 0)
        pthread_cond_broadcast(&pool->one_done);
}

static void *work(void *argument)
{
    struct pool *pool = argument;

    pthread_mutex_lock(&pool->lock);
    while (!pool->ending)
        if (pool->first)
            run_next(pool, pool->first);
        else
            pthread_cond_wait(&pool->has_work, &pool->lock);
    pthread_mutex_unlock(&pool->lock);
    return NULL;
}

static void run_loop(void *user, int64_t count, mglu_task task, void *argument)
{
    struct pool *pool = user;
    struct loop loop = {.count = count, .task = task, .argument = argument};

    if (count <= 0)
        return;
    pthread_mutex_lock(&pool->lock);
    loop.after = pool->first;
    pool->first = &loop;
    pthread_cond_broadcast(&pool->has_work);
    while (loop.next < count)
        run_next(pool, &loop);
    while (loop.running > 0)
        pthread_cond_wait(&pool->one_done, &pool->lock);
    pthread_mutex_unlock(&pool->lock);
}

struct pool *pool_create(int threads)
{
    struct pool *pool = calloc(1, sizeof *pool + (size_t)threads * sizeof pool->threads[0]);

    require(pool != NULL);
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->has_work, NULL);
    pthread_cond_init(&pool->one_done, NULL);
    while (pool->count < threads) {
        require(pthread_create(&pool->threads[pool->count], NULL, work, pool) == 0);
        pool->count++;
    }
    return pool;
}

void pool_destroy(struct pool *pool)
{
    pthread_mutex_lock(&pool->lock);
    pool->ending = true;
    pthread_cond_broadcast(&pool->has_work);
    pthread_mutex_unlock(&pool->lock);
    while (pool->count > 0)
        pthread_join(pool->threads[--pool->count], NULL);
    pthread_cond_destroy(&pool->one_done);
    pthread_cond_destroy(&pool->has_work);
    pthread_mutex_destroy(&pool->lock);
    free(pool);
}

mglu_parallel pool_hook(struct pool *pool)
{
    return (mglu_parallel){.user = pool, .parallel_for = run_loop};
}
