/* SPDX-License-Identifier: MIT */
#include "tests/unit/io/support.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>

/* How mglu_file_pack() works: on whose threads, how it tells its progress, how it is cancelled and how it fails. */

struct seen {
    size_t calls, stop_at, done;
};

static int watch(void *user, size_t done, size_t total)
{
    struct seen *seen = user;

    assert_true(done > seen->done && done <= total);
    seen->done = done;
    return ++seen->calls == seen->stop_at;
}

static void progress_is_reported_and_can_cancel(void **state)
{
    struct seen seen = {0};
    const mglu_file_pack_options options = {.struct_size = sizeof options, .progress = watch, .user = &seen};

    write_some(scratch("in"), NULL, packable_layer);
    for (seen.stop_at = 1; seen.stop_at <= 2; seen.stop_at++) {
        seen.calls = seen.done = 0;
        assert_status(mglu_file_pack(scratch("in"), scratch("out"), &options), MGLU_ERROR_CANCELLED);
        assert_error_says("in: packing was cancelled");
        assert_int_equal(seen.calls, seen.stop_at);
        assert_int_equal(scratch_count(), 1);
    }
    seen.calls = seen.done = 0;
    assert_ok(mglu_file_pack(scratch("in"), scratch("out"), &options));
    assert_int_equal(seen.calls, 2);
}

/* A host's pool that runs the last task first, on a new thread for each: no order may be relied on. */
struct task {
    mglu_task run;
    void *argument;
    int64_t index;
};

static void *run_task(void *argument)
{
    const struct task *task = argument;

    task->run(task->argument, task->index);
    return NULL;
}

static void backwards(void *user, int64_t count, mglu_task run, void *argument)
{
    *(size_t *)user += (size_t)count;
    for (int64_t i = count; i-- > 0;) {
        struct task task = {run, argument, i};
        pthread_t thread;

        assert_int_equal(pthread_create(&thread, NULL, run_task, &task), 0);
        assert_int_equal(pthread_join(thread, NULL), 0);
    }
}

/* More than one piece, of which two fail. */
enum { LONG_ROWS = 2000, LONG_COLUMNS = 320 };

static void write_long(float *weights)
{
    const struct part parts[] = {
        {"P.weight", "F32", "2000, 320", weights, sizeof(float) * LONG_ROWS * LONG_COLUMNS},
        {"P.mask", "U8", "2, 2000, 320", NULL, 2 * LONG_ROWS * LONG_COLUMNS},
        {"P.gate_bias", "F32", "2, 2000", NULL, sizeof(float) * 2 * LONG_ROWS},
    };

    write_parts(scratch("in"), NULL, parts, COUNT(parts));
}

static void threads_of_the_host_write_the_same_file(void **state)
{
    static const mglu_dtype dtypes[] = {MGLU_DTYPE_F32, MGLU_DTYPE_BF16, MGLU_DTYPE_Q8_0, MGLU_DTYPE_Q4_0};
    size_t tasks = 0, sizes[2];
    const mglu_parallel parallel = {.user = &tasks, .parallel_for = backwards};
    float *weights = calloc(LONG_ROWS * LONG_COLUMNS, sizeof *weights);

    assert_non_null(weights);
    for (size_t i = 0; i < LONG_ROWS * LONG_COLUMNS; i++)
        weights[i] = (float)(i * 7 % 1999) - 1000;
    write_long(weights);
    for (size_t i = 0; i < 2 * COUNT(dtypes); i++) {
        mglu_file_pack_options options = {.struct_size = sizeof options, .convert = 1, .dtype = dtypes[i / 2]};
        unsigned char *want, *got;

        options.format = i % 2 ? MGLU_FILE_FORMAT_GGUF : MGLU_FILE_FORMAT_SAFETENSORS;
        assert_ok(mglu_file_pack(scratch("in"), scratch("serial"), &options));
        options.parallel = &parallel;
        assert_ok(mglu_file_pack(scratch("in"), scratch("parallel"), &options));
        want = read_bytes(scratch("serial"), &sizes[0]);
        got = read_bytes(scratch("parallel"), &sizes[1]);
        assert_int_equal(sizes[1], sizes[0]);
        assert_memory_equal(got, want, sizes[0]);
        free(want);
        free(got);
    }
    assert_in_range(tasks, 8 * COUNT(dtypes), 1000);
    free(weights);
}

static void the_first_of_several_failures_is_reported(void **state)
{
    size_t tasks = 0;
    const mglu_parallel parallel = {.user = &tasks, .parallel_for = backwards};
    const mglu_file_pack_options options = {.struct_size = sizeof options, .parallel = &parallel};
    float *weights = calloc(LONG_ROWS * LONG_COLUMNS, sizeof *weights);

    assert_non_null(weights);
    weights[700 * LONG_COLUMNS + 3] = NAN;
    weights[1990 * LONG_COLUMNS] = INFINITY;
    write_long(weights);
    free(weights);
    assert_status(mglu_file_pack(scratch("in"), scratch("out"), &options), MGLU_ERROR_NONFINITE);
    assert_error_says("in: tensor 'P.weight': element [700, 3] is not finite");
    assert_int_equal(scratch_count(), 1);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_scratch, remove_scratch)
    const struct CMUnitTest tests[] = {
        TEST(progress_is_reported_and_can_cancel),
        TEST(threads_of_the_host_write_the_same_file),
        TEST(the_first_of_several_failures_is_reported),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
