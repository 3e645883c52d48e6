/* SPDX-License-Identifier: MIT */
#include "session.h"
#include "tests/unit/told.h"

#include <pthread.h>
#include <stdio.h>

/* A device that hangs: waits with a limit report it, nothing waits for ever, and all works again once it is done. */

struct use {
    struct sample sample;
    struct rig rig;
    mglu_memory *x, *y;
    char text[512]; /* the last warning */
};

static void keep_text(void *user, mglu_log_level level, const char *text)
{
    snprintf(user, 512, "%s", text);
}

/* A context whose queue is waited for, when it is destroyed, for a nanosecond. */
static void use_make(struct use *use)
{
    const mglu_logger logger = {use->text, keep_text, MGLU_LOG_WARN};
    const mglu_context_desc desc = {.struct_size = sizeof desc, .logger = &logger};
    const mglu_queue_desc brief = {.struct_size = sizeof brief, .destroy_ns = 1};

    *use = (struct use){.sample = sample_make(&whole, 1)};
    fake_reset();
    assert_ok(make_fake_rig(&desc, &use->sample, &use->rig));
    mglu_queue_destroy(&use->rig.queue);
    assert_ok(mglu_queue_create(use->rig.device, &brief, &use->rig.queue));
    assert_ok(mglu_memory_create(use->rig.device, 40 * sizeof(float), &use->x));
    assert_ok(mglu_memory_create(use->rig.device, 7 * sizeof(float), &use->y));
}

static void use_free(struct use *use)
{
    mglu_memory_destroy(&use->x);
    mglu_memory_destroy(&use->y);
    rig_free(&use->rig);
    sample_free(&use->sample);
}

static void a_wait_with_a_limit_ends_and_the_layer_works_again(void **state)
{
    struct use use;

    use_make(&use);
    fake.state = CL_RUNNING;
    assert_ok(mglu_queue_wait_for(use.rig.queue, 0)); /* no work: the device is not asked */
    assert_ok(run_fake(&use.rig, use.x, use.y));
    assert_status(mglu_queue_wait_for(use.rig.queue, 0), MGLU_ERROR_TIMEOUT);
    assert_status(mglu_queue_wait_for(use.rig.queue, 3000000), MGLU_ERROR_TIMEOUT);
    assert_error_says("the work on the queue of 'Fake 3000' is not done after 3000000 ns");
    assert_int_equal(fake.calls[FAKE_clEnqueueMarkerWithWaitList], 1);
    assert_ok(run_fake(&use.rig, use.x, use.y)); /* behind the marker: the next wait is for this one */
    assert_status(mglu_queue_wait_for(use.rig.queue, 0), MGLU_ERROR_TIMEOUT);
    assert_int_equal(fake.calls[FAKE_clEnqueueMarkerWithWaitList], 2);
    fake.state = CL_COMPLETE;
    assert_ok(mglu_queue_wait_for(use.rig.queue, MGLU_WAIT_FOREVER));
    assert_ok(run_fake(&use.rig, use.x, use.y));
    assert_ok(mglu_queue_wait(use.rig.queue));
    assert_int_equal(fake.waits, 0);
    use_free(&use);
    assert_int_equal(fake.live, 0);
}

static void *cancel(void *queue)
{
    mglu_queue_cancel_wait(queue);
    return NULL;
}

static void another_thread_ends_a_wait_without_limit(void **state)
{
    struct use use;
    pthread_t thread;

    use_make(&use);
    fake.state = CL_RUNNING;
    assert_ok(run_fake(&use.rig, use.x, use.y));
    assert_int_equal(pthread_create(&thread, NULL, cancel, use.rig.queue), 0);
    assert_status(mglu_queue_wait_for(use.rig.queue, MGLU_WAIT_FOREVER), MGLU_ERROR_CANCELLED);
    pthread_join(thread, NULL);
    fake.state = CL_COMPLETE;
    use_free(&use);
    assert_int_equal(fake.live, 0);
}

/* The error of a command, and a question that fails: the work may not be done after the latter. */
static void errors_of_the_work_are_those_of_any_wait(void **state)
{
    struct use use;

    use_make(&use);
    assert_ok(run_fake(&use.rig, use.x, use.y));
    fake.state = CL_OUT_OF_RESOURCES;
    assert_status(mglu_queue_wait_for(use.rig.queue, 0), MGLU_ERROR_OUT_OF_MEMORY);
    assert_error_says("CL_OUT_OF_RESOURCES (-5)");
    assert_ok(mglu_queue_wait_for(use.rig.queue, 0));
    assert_ok(run_fake(&use.rig, use.x, use.y));
    fake.state = CL_RUNNING;
    fake.failing = FAKE_clGetEventInfo;
    fake.failing_call = 1;
    fake.code = CL_OUT_OF_HOST_MEMORY;
    assert_status(mglu_queue_wait_for(use.rig.queue, 0), MGLU_ERROR_OUT_OF_MEMORY);
    fake.failing = FAKE_FUNCTIONS;
    assert_status(mglu_queue_wait_for(use.rig.queue, 0), MGLU_ERROR_TIMEOUT);
    fake.state = CL_COMPLETE;
    assert_ok(mglu_queue_wait_for(use.rig.queue, 0));
    use_free(&use);
    assert_int_equal(fake.live, 0);
}

static void a_queue_that_hangs_is_given_up_with_its_device(void **state)
{
    enum { KEPT = 1 /* the driver's queue */ };
    struct use use;

    use_make(&use);
    fake.state = CL_RUNNING;
    assert_ok(run_fake(&use.rig, use.x, use.y));
    mglu_queue_destroy(&use.rig.queue);
    assert_non_null(strstr(use.text, "a queue is destroyed before its work is done"));
    assert_status(mglu_queue_create(use.rig.device, NULL, &use.rig.queue), MGLU_ERROR_DEVICE_LOST);
    assert_error_says("given up");
    fake.waits = 0;
    use_free(&use);
    assert_error_says("given up"); /* destroying objects keeps the text of the last error */
    assert_int_equal(fake.live, KEPT);
}

/* With routing of the caller's, which the device checks. */
static mglu_status run_given(struct use *use)
{
    return rig_forward(&use->rig, (mglu_forward_args){.batch = 1,
                                                      .x.data = mglu_memory_data(use->x),
                                                      .y.data = mglu_memory_data(use->y),
                                                      .routing_ids.data = mglu_memory_data(use->x),
                                                      .routing_weights.data = mglu_memory_data(use->x)});
}

static void a_notification_comes_once_at_the_end_of_the_work_with_its_status(void **state)
{
    static const struct {
        cl_int state;
        int raised; /* the flag of the routing */
        mglu_status status;
    } ends[] = {
        {CL_COMPLETE, 0, MGLU_OK},
        {CL_COMPLETE, 1, MGLU_ERROR_BAD_ROUTING},
        {CL_OUT_OF_RESOURCES, 0, MGLU_ERROR_OUT_OF_MEMORY},
        {CL_DEVICE_NOT_AVAILABLE, 0, MGLU_ERROR_DEVICE_LOST},
    };

    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
        struct told told = {0};
        struct use use;

        use_make(&use);
        fake.state = CL_RUNNING;
        fake.raised = ends[i].raised;
        assert_ok(run_given(&use));
        assert_ok(mglu_queue_notify(use.rig.queue, tell, &told));
        assert_status(mglu_queue_wait_for(use.rig.queue, 0), MGLU_ERROR_TIMEOUT);
        assert_int_equal(told.calls, 0);
        fake_end_work(ends[i].state);
        assert_int_equal(told.calls, 1);
        assert_int_equal(told.status, ends[i].status);
        assert_status(mglu_queue_wait(use.rig.queue), ends[i].raised ? MGLU_ERROR_BAD_ROUTING : MGLU_OK);
        use_free(&use);
        assert_int_equal(told.calls, 1);
        assert_int_equal(fake.live, 0);
    }
}

static void a_notification_that_fails_is_no_notification(void **state)
{
    static const enum fake_function functions[] = {FAKE_clEnqueueMarkerWithWaitList, FAKE_clSetEventCallback};

    for (size_t i = 0; i < sizeof functions / sizeof functions[0]; i++) {
        struct told told = {0};
        struct use use;

        use_make(&use);
        fake.failing = functions[i];
        fake.failing_call = 1;
        fake.code = CL_OUT_OF_RESOURCES;
        assert_status(mglu_queue_notify(use.rig.queue, tell, &told), MGLU_ERROR_OUT_OF_MEMORY);
        fake.failing = FAKE_FUNCTIONS;
        assert_ok(mglu_queue_wait(use.rig.queue));
        use_free(&use);
        assert_int_equal(told.calls, 0);
        assert_int_equal(fake.live, 0);
    }
}

/* The driver calls back when the context is gone: nobody is told again, and nothing of it is used. */
static void a_queue_that_is_given_up_tells_so_and_later_nothing(void **state)
{
    struct told told = {0};
    struct use use;

    use_make(&use);
    fake.state = CL_RUNNING;
    assert_ok(run_fake(&use.rig, use.x, use.y));
    assert_ok(mglu_queue_notify(use.rig.queue, tell, &told));
    mglu_queue_destroy(&use.rig.queue);
    assert_int_equal(told.calls, 1);
    assert_int_equal(told.status, MGLU_ERROR_DEVICE_LOST);
    use_free(&use);
    fake_end_work(CL_COMPLETE);
    assert_int_equal(told.calls, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_wait_with_a_limit_ends_and_the_layer_works_again),
        cmocka_unit_test(another_thread_ends_a_wait_without_limit),
        cmocka_unit_test(errors_of_the_work_are_those_of_any_wait),
        cmocka_unit_test(a_queue_that_hangs_is_given_up_with_its_device),
        cmocka_unit_test(a_notification_comes_once_at_the_end_of_the_work_with_its_status),
        cmocka_unit_test(a_notification_that_fails_is_no_notification),
        cmocka_unit_test(a_queue_that_is_given_up_tells_so_and_later_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
