/* SPDX-License-Identifier: MIT */
#include "tests/unit/told.h"
#include "use.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

/* A kernel that hangs: waits with a limit report it, nothing waits for ever, and all works again once it is done. */

enum { Y_BYTES = USE_BATCH * USE_OUT * sizeof(float) };

static void read_y(struct use *use, float *y)
{
    assert_ok(mglu_memory_read(use->y, use->rig.queue, 0, y, Y_BYTES));
}

static void compute_y(float *y)
{
    struct use use;
    float first;

    assert_ok(use_make(&use, NULL, NULL));
    assert_ok(use_forward(&use, &first));
    read_y(&use, y);
    use_free(&use);
}

static uint64_t now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

static void a_wait_with_a_limit_ends_and_the_layer_works_again(void **state)
{
    static const uint64_t limits[] = {0, 1, 3000000};
    float want[USE_BATCH * USE_OUT], got[USE_BATCH * USE_OUT];
    struct use use;

    compute_y(want);
    assert_ok(use_make(&use, NULL, NULL));
    assert_ok(mglu_queue_wait_for(use.rig.queue, 0));
    fake_settings()->is_hanging = 1;
    assert_ok(rig_forward(&use.rig, use.args));
    for (size_t i = 0; i < sizeof limits / sizeof limits[0]; i++) {
        const uint64_t start = now();

        assert_status(mglu_queue_wait_for(use.rig.queue, limits[i]), MGLU_ERROR_TIMEOUT);
        assert_error_says("the work on the queue of 'Imaginary GPU' is not done after");
        assert_true(now() - start >= limits[i]);
    }
    assert_ok(rig_forward(&use.rig, use.args));
    assert_status(mglu_queue_wait_for(use.rig.queue, 0), MGLU_ERROR_TIMEOUT);
    assert_int_equal(fake_hanging_calls(), 0);
    fake_end_work();
    assert_ok(mglu_queue_wait_for(use.rig.queue, 0));
    read_y(&use, got);
    assert_memory_equal(got, want, Y_BYTES);
    memset(got, 0, Y_BYTES);
    assert_ok(mglu_memory_write(use.y, use.rig.queue, 0, got, Y_BYTES));
    assert_ok(rig_forward(&use.rig, use.args));
    assert_ok(mglu_queue_wait_for(use.rig.queue, MGLU_WAIT_FOREVER));
    read_y(&use, got);
    assert_memory_equal(got, want, Y_BYTES);
    use_free(&use);
}

static void *cancel(void *queue)
{
    mglu_queue_cancel_wait(queue);
    return NULL;
}

/* Whether the other thread comes first or second: the wait has no other end. */
static void another_thread_ends_a_wait_without_limit(void **state)
{
    struct use use;
    pthread_t thread;

    assert_ok(use_make(&use, NULL, NULL));
    fake_settings()->is_hanging = 1;
    assert_ok(rig_forward(&use.rig, use.args));
    assert_int_equal(pthread_create(&thread, NULL, cancel, use.rig.queue), 0);
    assert_status(mglu_queue_wait_for(use.rig.queue, MGLU_WAIT_FOREVER), MGLU_ERROR_CANCELLED);
    assert_error_says("cancelled");
    pthread_join(thread, NULL);
    assert_status(mglu_queue_wait_for(use.rig.queue, 0), MGLU_ERROR_TIMEOUT); /* one wait only */
    fake_end_work();
    mglu_queue_cancel_wait(use.rig.queue);
    assert_ok(mglu_queue_wait_for(use.rig.queue, 0)); /* the work is done: there is nothing to cancel */
    use_free(&use);
}

static void errors_of_the_work_are_those_of_any_wait(void **state)
{
    struct use use;

    assert_ok(use_make(&use, NULL, NULL));
    assert_ok(rig_forward(&use.rig, use.args));
    fake_settings()->failing_call = "cuStreamQuery";
    fake_settings()->calls_before_failure = 0;
    fake_settings()->failure = CUDA_ERROR_LAUNCH_TIMEOUT;
    fake_settings()->failure_stays = 1;
    assert_status(mglu_queue_wait_for(use.rig.queue, MGLU_WAIT_FOREVER), MGLU_ERROR_DEVICE_LOST);
    assert_error_says("cuStreamQuery: CUDA_ERROR_LAUNCH_TIMEOUT (702)");
    assert_status(mglu_queue_wait_for(use.rig.queue, 0), MGLU_ERROR_DEVICE_LOST);
    use_free(&use);
}

static void keep_text(void *user, mglu_log_level level, const char *text)
{
    snprintf(user, 512, "%s", text);
}

/* Makes a context whose only queue hangs and is then destroyed. */
static void destroy_hanging_queue(struct use *use, char text[512])
{
    const mglu_logger logger = {text, keep_text, MGLU_LOG_WARN};
    const mglu_context_desc desc = {.struct_size = sizeof desc, .logger = &logger};
    const mglu_queue_desc brief = {.struct_size = sizeof brief, .destroy_ns = 1};

    text[0] = '\0';
    assert_ok(use_make(use, &desc, NULL));
    mglu_queue_destroy(&use->rig.queue);
    assert_ok(mglu_queue_create(use->rig.device, &brief, &use->rig.queue));
    fake_settings()->is_hanging = 1;
    assert_ok(rig_forward(&use->rig, use->args));
    mglu_queue_destroy(&use->rig.queue);
}

static void a_queue_that_hangs_is_given_up_with_its_device(void **state)
{
    struct use use;
    mglu_memory *memory;
    char text[512];

    destroy_hanging_queue(&use, text);
    assert_non_null(strstr(text, "a queue is destroyed before its work is done"));
    assert_status(mglu_queue_create(use.rig.device, NULL, &use.rig.queue), MGLU_ERROR_DEVICE_LOST);
    assert_error_says("given up");
    assert_status(mglu_memory_create(use.rig.device, 64, &memory), MGLU_ERROR_DEVICE_LOST);
    fake_log_clear();
    use_free(&use);
    assert_int_equal(fake_log_count(), 0); /* a call could wait */
    assert_int_equal(fake_hanging_calls(), 0);
    fake_forget();
}

static void destroying_a_queue_keeps_the_text_of_the_last_error(void **state)
{
    struct use use;
    char text[512];

    destroy_hanging_queue(&use, text);
    assert_status(mglu_queue_create(use.rig.device, NULL, &use.rig.queue), MGLU_ERROR_DEVICE_LOST);
    use_free(&use);
    assert_error_says("given up");
    fake_forget();
}

static void work_that_ends_in_time_is_waited_for(void **state)
{
    struct use use;
    char text[512] = "";
    const mglu_logger logger = {text, keep_text, MGLU_LOG_WARN};
    const mglu_context_desc desc = {.struct_size = sizeof desc, .logger = &logger};

    assert_ok(use_make(&use, &desc, NULL));
    fake_settings()->is_hanging = 1;
    assert_ok(rig_forward(&use.rig, use.args));
    fake_settings()->queries_before_end = 3;
    mglu_queue_destroy(&use.rig.queue);
    assert_string_equal(text, "");
    assert_ok(mglu_queue_create(use.rig.device, NULL, &use.rig.queue));
    use_free(&use);
}

/* Routing of the caller's, with `id` for each term. */
static mglu_memory *give_routing(struct use *use, int32_t id)
{
    enum { TERMS = USE_BATCH * USE_TOP_K };
    int32_t ids[TERMS];
    float p[TERMS];
    mglu_memory *memory;

    for (int i = 0; i < TERMS; i++)
        ids[i] = id, p[i] = 0.5f;
    assert_ok(mglu_memory_create(use->rig.device, sizeof ids + sizeof p, &memory));
    assert_ok(mglu_memory_write(memory, use->rig.queue, 0, ids, sizeof ids));
    assert_ok(mglu_memory_write(memory, use->rig.queue, sizeof ids, p, sizeof p));
    use->args.routing_ids.data = mglu_memory_data(memory);
    use->args.routing_weights = (mglu_input){.data = mglu_memory_data(memory), .byte_offset = sizeof ids};
    return memory;
}

static void a_notification_comes_once_at_the_end_of_the_work_with_its_status(void **state)
{
    for (int is_bad = 0; is_bad < 2; is_bad++) {
        const mglu_status status = is_bad ? MGLU_ERROR_BAD_ROUTING : MGLU_OK;
        struct told told = {0};
        mglu_memory *memory;
        struct use use;

        assert_ok(use_make(&use, NULL, NULL));
        memory = give_routing(&use, is_bad ? USE_MASKS : 0);
        fake_settings()->is_hanging = 1;
        assert_ok(rig_forward(&use.rig, use.args));
        assert_ok(mglu_queue_notify(use.rig.queue, tell, &told));
        assert_status(mglu_queue_wait_for(use.rig.queue, 0), MGLU_ERROR_TIMEOUT);
        assert_int_equal(told.calls, 0);
        fake_end_work();
        assert_int_equal(told.calls, 1);
        assert_int_equal(told.status, status);
        assert_status(mglu_queue_wait(use.rig.queue), status);
        mglu_memory_destroy(&memory);
        use_free(&use);
        assert_int_equal(told.calls, 1);
    }
}

static void a_notification_that_fails_is_no_notification(void **state)
{
    static const char *const calls[] = {"cuStreamIsCapturing", "cuLaunchHostFunc"};

    for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++) {
        struct told told = {0};
        struct use use;

        assert_ok(use_make(&use, NULL, NULL));
        fake_settings()->failing_call = calls[i];
        fake_settings()->calls_before_failure = 0;
        fake_settings()->failure = CUDA_ERROR_OUT_OF_MEMORY;
        assert_status(mglu_queue_notify(use.rig.queue, tell, &told), MGLU_ERROR_OUT_OF_MEMORY);
        assert_error_says(calls[i]);
        assert_ok(mglu_queue_wait(use.rig.queue));
        use_free(&use);
        assert_int_equal(told.calls, 0);
    }
}

/* The driver runs no function once a fault has ended the context: the wait that finds it tells. */
static void a_lost_device_is_told_by_the_wait_that_finds_it(void **state)
{
    struct told told = {0};
    struct use use;

    assert_ok(use_make(&use, NULL, NULL));
    fake_settings()->is_hanging = 1;
    assert_ok(rig_forward(&use.rig, use.args));
    assert_ok(mglu_queue_notify(use.rig.queue, tell, &told));
    fake_settings()->failing_call = "cuStreamQuery";
    fake_settings()->calls_before_failure = 0;
    fake_settings()->failure = CUDA_ERROR_LAUNCH_TIMEOUT;
    fake_settings()->failure_stays = 1;
    fake_drop_work();
    assert_status(mglu_queue_wait_for(use.rig.queue, MGLU_WAIT_FOREVER), MGLU_ERROR_DEVICE_LOST);
    assert_int_equal(told.calls, 1);
    assert_int_equal(told.status, MGLU_ERROR_DEVICE_LOST);
    use_free(&use);
    assert_int_equal(told.calls, 1);
}

/* The driver runs the function when the context is gone: nobody is told again, and nothing of it is used. */
static void a_queue_that_is_given_up_tells_so_and_later_nothing(void **state)
{
    const mglu_queue_desc brief = {.struct_size = sizeof brief, .destroy_ns = 1};
    struct told told = {0};
    struct use use;

    assert_ok(use_make(&use, NULL, NULL));
    mglu_queue_destroy(&use.rig.queue);
    assert_ok(mglu_queue_create(use.rig.device, &brief, &use.rig.queue));
    fake_settings()->is_hanging = 1;
    assert_ok(rig_forward(&use.rig, use.args));
    assert_ok(mglu_queue_notify(use.rig.queue, tell, &told));
    mglu_queue_destroy(&use.rig.queue);
    assert_int_equal(told.calls, 1);
    assert_int_equal(told.status, MGLU_ERROR_DEVICE_LOST);
    use_free(&use);
    fake_forget();
    assert_int_equal(told.calls, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_wait_with_a_limit_ends_and_the_layer_works_again, reset, no_leak),
        cmocka_unit_test_setup_teardown(another_thread_ends_a_wait_without_limit, reset, no_leak),
        cmocka_unit_test_setup_teardown(errors_of_the_work_are_those_of_any_wait, reset, no_leak),
        cmocka_unit_test_setup_teardown(a_queue_that_hangs_is_given_up_with_its_device, reset, no_leak),
        cmocka_unit_test_setup_teardown(destroying_a_queue_keeps_the_text_of_the_last_error, reset, no_leak),
        cmocka_unit_test_setup_teardown(work_that_ends_in_time_is_waited_for, reset, no_leak),
        cmocka_unit_test_setup_teardown(a_notification_comes_once_at_the_end_of_the_work_with_its_status, reset,
                                        no_leak),
        cmocka_unit_test_setup_teardown(a_notification_that_fails_is_no_notification, reset, no_leak),
        cmocka_unit_test_setup_teardown(a_lost_device_is_told_by_the_wait_that_finds_it, reset, no_leak),
        cmocka_unit_test_setup_teardown(a_queue_that_is_given_up_tells_so_and_later_nothing, reset, no_leak),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
