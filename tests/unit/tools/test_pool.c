/* SPDX-License-Identifier: MIT */
#include "tests/unit/check.h"

#include "tools/common/pool.h"

#include <pthread.h>
#include <stdatomic.h>

/* The programs' thread pool, as the library calls it. */

enum { MOST_TASKS = 1000 };

struct loop {
    const mglu_parallel *hook;
    int64_t count, inner; /* inner: tasks of a loop that each task runs */
    atomic_int runs[MOST_TASKS], inner_runs;
};

static void count_inner(void *argument, int64_t index)
{
    atomic_fetch_add((atomic_int *)argument, 1);
}

static void count_run(void *argument, int64_t index)
{
    struct loop *loop = argument;

    atomic_fetch_add(&loop->runs[index], 1);
    if (loop->inner)
        loop->hook->parallel_for(loop->hook->user, loop->inner, count_inner, &loop->inner_runs);
}

/* Whether each task ran once. */
static int runs_once(const mglu_parallel *hook, int64_t count, int64_t inner)
{
    struct loop loop = {.hook = hook, .count = count, .inner = inner};

    hook->parallel_for(hook->user, count, count_run, &loop);
    for (int64_t i = 0; i < MOST_TASKS; i++)
        if (atomic_load(&loop.runs[i]) != (i < count))
            return 0;
    return atomic_load(&loop.inner_runs) == count * inner;
}

static void every_task_runs_once(void **state)
{
    static const int threads[] = {1, 2, 3, 8};
    static const int64_t counts[] = {0, 1, 2, 3, 7, MOST_TASKS};

    for (size_t t = 0; t < sizeof threads / sizeof threads[0]; t++) {
        struct pool *pool = pool_create(threads[t]);
        assert_non_null(pool);
        const mglu_parallel hook = pool_hook(pool);
        for (int repeat = 0; repeat < 100; repeat++)
            for (size_t c = 0; c < sizeof counts / sizeof counts[0]; c++)
                assert_true(runs_once(&hook, counts[c], 0));
        pool_destroy(pool);
    }
}

static void a_loop_inside_a_loop_runs_too(void **state)
{
    struct pool *pool = pool_create(3);
    const mglu_parallel hook = pool_hook(pool);

    assert_true(runs_once(&hook, 10, 20));
    pool_destroy(pool);
}

static void *run_loops(void *hook)
{
    for (int i = 0; i < 200; i++)
        if (!runs_once(hook, 1 + i % 20, 0))
            return hook;
    return NULL;
}

static void several_threads_may_call_it(void **state)
{
    enum { CALLERS = 4 };
    struct pool *pool = pool_create(3);
    mglu_parallel hook = pool_hook(pool);
    pthread_t callers[CALLERS];
    void *failed;

    for (int i = 0; i < CALLERS; i++)
        assert_int_equal(pthread_create(&callers[i], NULL, run_loops, &hook), 0);
    for (int i = 0; i < CALLERS; i++) {
        assert_int_equal(pthread_join(callers[i], &failed), 0);
        assert_null(failed);
    }
    pool_destroy(pool);
}

/* Two tasks that wait for each other: a pool of one thread would never return. */
static void meet(void *argument, int64_t index)
{
    pthread_barrier_wait(argument);
}

static void tasks_run_at_the_same_time(void **state)
{
    struct pool *pool = pool_create(2);
    const mglu_parallel hook = pool_hook(pool);
    pthread_barrier_t both;

    assert_int_equal(pool_threads(pool), 2);
    assert_int_equal(pthread_barrier_init(&both, NULL, 2), 0);
    for (int i = 0; i < 100; i++)
        hook.parallel_for(hook.user, 2, meet, &both);
    assert_int_equal(pthread_barrier_destroy(&both), 0);
    pool_destroy(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_task_runs_once),
        cmocka_unit_test(a_loop_inside_a_loop_runs_too),
        cmocka_unit_test(several_threads_may_call_it),
        cmocka_unit_test(tasks_run_at_the_same_time),
    };

    pool_destroy(NULL);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
