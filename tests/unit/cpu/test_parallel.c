/* SPDX-License-Identifier: MIT */
#include "tests/unit/check.h"

#include "backends/cpu/cpu.h"

/* The division of loops among threads: each computes runs of consecutive tasks, shorter ones towards the end. */

enum { MOST_TASKS = 5000 };

/* Of a loop: the tasks in their order, and the length of each run; both in the order in which they were called. */
struct record {
    int64_t tasks, runs;
    int64_t indices[MOST_TASKS], lengths[MOST_TASKS];
};

static void note(void *argument, int64_t index)
{
    struct record *record = argument;

    assert_true(record->tasks < MOST_TASKS);
    record->indices[record->tasks++] = index;
}

/* A pool that calls from the last index to the first. */
static void run_backwards(void *user, int64_t count, mglu_task task, void *argument)
{
    struct record *record = user;

    for (int64_t i = count; i-- > 0;) {
        const int64_t before = record->tasks;
        task(argument, i);
        record->lengths[record->runs++] = record->tasks - before;
    }
}

static const struct {
    int64_t count;
    int32_t threads;
} loops[] = {{2, 1}, {2, 2}, {2, 7}, {3, 2}, {5, 2}, {16, 4}, {100, 3}, {512, 2}, {513, 16}, {4999, 64}, {80, 128}};

enum { LOOPS = sizeof loops / sizeof loops[0] };

static struct record record; /* of the latest loop */

static void run_loop(int64_t count, int32_t threads)
{
    const mglu_parallel parallel = {&record, run_backwards, threads};

    memset(&record, 0, sizeof record);
    mglu_cpu_run_tasks(&parallel, count, 1, note, &record);
}

static void every_task_is_run_once_and_in_order_of_the_calls(void **state)
{
    for (size_t i = 0; i < LOOPS; i++) {
        run_loop(loops[i].count, loops[i].threads);
        assert_int_equal(record.tasks, loops[i].count);
        for (int64_t task = 0; task < record.tasks; task++)
            assert_int_equal(record.indices[task], task);
    }
}

/* No thread gets more than half of its share of what is left, so that the others can finish the rest meanwhile. */
static void a_run_is_half_of_a_threads_share_of_what_is_left(void **state)
{
    for (size_t i = 0; i < LOOPS; i++) {
        int64_t left = loops[i].count;

        run_loop(loops[i].count, loops[i].threads);
        for (int64_t run = 0; run < record.runs; run++) {
            const int64_t halves = 2 * (int64_t)loops[i].threads;
            const int64_t round = run / loops[i].threads * loops[i].threads;
            assert_in_range(record.lengths[run], 1, (loops[i].count + halves - 1) / halves);
            if (run == round && left > halves)
                assert_int_equal(record.lengths[run], (left + halves - 1) / halves);
            left -= record.lengths[run];
        }
        assert_int_equal(left, 0);
    }
}

static void runs_are_few(void **state)
{
    run_loop(512, 2);
    assert_in_range(record.runs, 1, 20);
    run_loop(4999, 64);
    assert_in_range(record.runs, 64, 64 * 8);
}

static void a_pool_that_does_not_say_how_many_threads_it_has_gets_all_tasks(void **state)
{
    run_loop(4999, 0);
    assert_int_equal(record.tasks, 4999);
}

static void without_threads_the_pool_is_not_called(void **state)
{
    const mglu_parallel none = {0};

    memset(&record, 0, sizeof record);
    mglu_cpu_run_tasks(&none, 100, 0, note, &record);
    assert_int_equal(record.tasks, 100);
    for (int64_t task = 0; task < record.tasks; task++)
        assert_int_equal(record.indices[task], task);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_task_is_run_once_and_in_order_of_the_calls),
        cmocka_unit_test(a_run_is_half_of_a_threads_share_of_what_is_left),
        cmocka_unit_test(runs_are_few),
        cmocka_unit_test(a_pool_that_does_not_say_how_many_threads_it_has_gets_all_tasks),
        cmocka_unit_test(without_threads_the_pool_is_not_called),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
