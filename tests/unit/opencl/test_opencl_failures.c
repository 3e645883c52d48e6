/* SPDX-License-Identifier: MIT */
#include "session.h"

/* A driver that fails at any call: a status with the driver's code, no leak, and existing objects still work. */

/* All that a host does, to the wait. Everything is released in any case. */
static mglu_status use_everything(void)
{
    struct sample sample = sample_make(&whole, 1);
    mglu_memory *x = NULL, *y = NULL;
    float zeros[40] = {0}, read[7];
    struct rig rig = {0};
    mglu_status status = make_fake_rig(NULL, &sample, &rig);

    if (status == MGLU_OK)
        status = mglu_memory_create(rig.device, sizeof zeros, &x);
    if (status == MGLU_OK)
        status = mglu_memory_create(rig.device, sizeof read, &y);
    if (status == MGLU_OK)
        status = mglu_memory_write(x, rig.queue, 0, zeros, sizeof zeros);
    if (status == MGLU_OK)
        status = run_fake(&rig, x, y);
    if (status == MGLU_OK)
        status = mglu_queue_wait(rig.queue);
    if (status == MGLU_OK)
        status = mglu_memory_read(y, rig.queue, 0, read, sizeof read);
    mglu_memory_destroy(&x);
    mglu_memory_destroy(&y);
    rig_free(&rig);
    sample_free(&sample);
    return status;
}

static const struct {
    enum fake_function function;
    cl_int code;
    mglu_status status;
    const char *says;
} failures[] = {
    {FAKE_clCreateContext, CL_DEVICE_NOT_AVAILABLE, MGLU_ERROR_DEVICE_LOST, "CL_DEVICE_NOT_AVAILABLE (-2)"},
    {FAKE_clCreateCommandQueue, CL_OUT_OF_HOST_MEMORY, MGLU_ERROR_OUT_OF_MEMORY, "CL_OUT_OF_HOST_MEMORY (-6)"},
    {FAKE_clCreateBuffer, CL_MEM_OBJECT_ALLOCATION_FAILURE, MGLU_ERROR_OUT_OF_MEMORY, "(-4)"},
    {FAKE_clCreateBuffer, CL_OUT_OF_RESOURCES, MGLU_ERROR_OUT_OF_MEMORY, "making a buffer of"},
    {FAKE_clCreateProgramWithSource, CL_OUT_OF_HOST_MEMORY, MGLU_ERROR_OUT_OF_MEMORY, "(-6)"},
    {FAKE_clBuildProgram, CL_BUILD_PROGRAM_FAILURE, MGLU_ERROR_BUILD_FAILED, "line 3: no such type"},
    {FAKE_clBuildProgram, CL_OUT_OF_HOST_MEMORY, MGLU_ERROR_OUT_OF_MEMORY, "building a program"},
    {FAKE_clCreateKernel, CL_INVALID_KERNEL_NAME, MGLU_ERROR_BUILD_FAILED, "(-46)"},
    {FAKE_clSetKernelArg, CL_OUT_OF_RESOURCES, MGLU_ERROR_OUT_OF_MEMORY, "enqueuing a forward"},
    {FAKE_clEnqueueNDRangeKernel, CL_MEM_OBJECT_ALLOCATION_FAILURE, MGLU_ERROR_OUT_OF_MEMORY, "enqueuing a forward"},
    {FAKE_clEnqueueNDRangeKernel, CL_OUT_OF_RESOURCES, MGLU_ERROR_OUT_OF_MEMORY, "CL_OUT_OF_RESOURCES (-5)"},
    {FAKE_clEnqueueNDRangeKernel, -9999, MGLU_ERROR_DEVICE, "OpenCL error (-9999)"},
    {FAKE_clFlush, CL_INVALID_COMMAND_QUEUE, MGLU_ERROR_DEVICE_LOST, "CL_INVALID_COMMAND_QUEUE (-36)"},
    {FAKE_clFinish, CL_INVALID_COMMAND_QUEUE, MGLU_ERROR_DEVICE_LOST, "waiting for the queue"},
    {FAKE_clFinish, CL_EXEC_STATUS_ERROR_FOR_EVENTS_IN_WAIT_LIST, MGLU_ERROR_DEVICE, "(-14)"},
    {FAKE_clEnqueueWriteBuffer, CL_OUT_OF_RESOURCES, MGLU_ERROR_OUT_OF_MEMORY, "writing memory"},
    {FAKE_clEnqueueReadBuffer, CL_DEVICE_NOT_AVAILABLE, MGLU_ERROR_DEVICE_LOST, "reading memory"},
};

static void test_statuses_and_texts(void **state)
{
    for (size_t i = 0; i < sizeof failures / sizeof failures[0]; i++) {
        fake_reset();
        fake.log = "line 3:\nno such type";
        fake.failing = failures[i].function;
        fake.failing_call = 1;
        fake.code = failures[i].code;
        assert_status(use_everything(), failures[i].status);
        assert_error_says(failures[i].says);
        assert_error_says("Fake 3000");
        assert_int_equal(fake.live, 0);
    }
}

/* Each call of each function in turn. Releases are left out: a failed one can't be handled. */
static void test_every_call_can_fail(void **state)
{
    int healthy[FAKE_FUNCTIONS];

    fake_reset();
    assert_ok(use_everything());
    assert_int_equal(fake.live, 0);
    memcpy(healthy, fake.calls, sizeof healthy);
    for (int function = FAKE_clCreateContext; function < FAKE_FUNCTIONS; function++)
        for (int number = 1; number <= healthy[function]; number++) {
            mglu_status status;

            fake_reset();
            fake.failing = (enum fake_function)function;
            fake.failing_call = number;
            fake.code = CL_OUT_OF_RESOURCES;
            status = use_everything();
            assert_true(status == MGLU_OK || status == MGLU_ERROR_OUT_OF_MEMORY);
            assert_int_equal(fake.live, 0);
        }
}

static void test_lost_device_stays_lost(void **state)
{
    struct sample sample = sample_make(&whole, 2);
    mglu_memory *x = NULL, *y = NULL;
    struct rig rig = {0};
    int calls[FAKE_FUNCTIONS];

    fake_reset();
    assert_ok(make_fake_rig(NULL, &sample, &rig));
    assert_ok(mglu_memory_create(rig.device, 40 * sizeof(float), &x));
    assert_ok(mglu_memory_create(rig.device, 7 * sizeof(float), &y));
    fake.failing = FAKE_clFinish;
    fake.failing_call = 1;
    fake.code = CL_INVALID_COMMAND_QUEUE;
    assert_ok(run_fake(&rig, x, y));
    assert_status(mglu_queue_wait(rig.queue), MGLU_ERROR_DEVICE_LOST);
    fake.failing = FAKE_FUNCTIONS;
    memcpy(calls, fake.calls, sizeof calls);
    assert_status(run_fake(&rig, x, y), MGLU_ERROR_DEVICE_LOST);
    assert_status(mglu_queue_wait(rig.queue), MGLU_ERROR_DEVICE_LOST);
    assert_memory_equal(calls, fake.calls, sizeof calls);
    mglu_memory_destroy(&x);
    mglu_memory_destroy(&y);
    rig_free(&rig);
    sample_free(&sample);
    assert_int_equal(fake.live, 0);
}

/* What a forward may call: it sets arguments, enqueues and flushes. */
static void test_forward_only_enqueues(void **state)
{
    static const enum fake_function allowed[] = {FAKE_clSetKernelArg, FAKE_clEnqueueNDRangeKernel, FAKE_clFlush};
    struct sample sample = sample_make(&whole, 3);
    mglu_memory *x = NULL, *y = NULL;
    struct rig rig = {0};
    int before[FAKE_FUNCTIONS];

    fake_reset();
    assert_ok(make_fake_rig(NULL, &sample, &rig));
    assert_ok(mglu_memory_create(rig.device, 40 * sizeof(float), &x));
    assert_ok(mglu_memory_create(rig.device, 7 * sizeof(float), &y));
    memcpy(before, fake.calls, sizeof before);
    assert_ok(run_fake(&rig, x, y));
    /* The router, the selection, the projection, the down-projection. */
    assert_int_equal(fake.calls[FAKE_clEnqueueNDRangeKernel] - before[FAKE_clEnqueueNDRangeKernel], 4);
    for (size_t i = 0; i < sizeof allowed / sizeof allowed[0]; i++)
        before[allowed[i]] = fake.calls[allowed[i]];
    assert_memory_equal(before, fake.calls, sizeof before);
    mglu_memory_destroy(&x);
    mglu_memory_destroy(&y);
    rig_free(&rig);
    sample_free(&sample);
}

static void test_large_matrices_are_split(void **state)
{
    struct sample sample = sample_make(&whole, 4);
    mglu_memory *x = NULL, *y = NULL;
    struct rig rig = {0};
    int before;

    fake_reset();
    fake.most_bytes = 128 * 64; /* 64 rows of 40 columns in f16; 300 make 5 parts */
    assert_ok(make_fake_rig(NULL, &sample, &rig));
    assert_in_range(fake.most_made, 1, 128 * 64);
    assert_ok(mglu_memory_create(rig.device, 40 * sizeof(float), &x));
    assert_ok(mglu_memory_create(rig.device, 7 * sizeof(float), &y));
    before = fake.calls[FAKE_clEnqueueNDRangeKernel];
    assert_ok(run_fake(&rig, x, y));
    assert_int_equal(fake.calls[FAKE_clEnqueueNDRangeKernel] - before, 3 + 5);
    mglu_memory_destroy(&x);
    mglu_memory_destroy(&y);
    rig_free(&rig);
    sample_free(&sample);
    assert_int_equal(fake.live, 0);
}

static void test_bad_routing_is_reported_once(void **state)
{
    struct sample sample = sample_make(&whole, 5);
    mglu_memory *x = NULL, *y = NULL, *routing = NULL;
    struct rig rig = {0};

    fake_reset();
    assert_ok(make_fake_rig(NULL, &sample, &rig));
    assert_ok(mglu_memory_create(rig.device, 40 * sizeof(float), &x));
    assert_ok(mglu_memory_create(rig.device, 7 * sizeof(float), &y));
    assert_ok(mglu_memory_create(rig.device, 2 * sizeof(float), &routing));
    fake.raised = 1;
    fake.failing = FAKE_clEnqueueReadBuffer; /* the report that can't be read is not lost */
    fake.failing_call = 1;
    fake.code = CL_OUT_OF_RESOURCES;
    assert_ok(rig_forward(&rig, (mglu_forward_args){.batch = 1,
                                                    .x.data = mglu_memory_data(x),
                                                    .y.data = mglu_memory_data(y),
                                                    .routing_ids.data = mglu_memory_data(routing),
                                                    .routing_weights.data = mglu_memory_data(routing)}));
    assert_status(mglu_queue_wait(rig.queue), MGLU_ERROR_OUT_OF_MEMORY);
    assert_error_says("clEnqueueReadBuffer: CL_OUT_OF_RESOURCES (-5)");
    fake.failing = FAKE_FUNCTIONS;
    assert_status(mglu_queue_wait(rig.queue), MGLU_ERROR_BAD_ROUTING);
    assert_int_equal(fake.calls[FAKE_clEnqueueWriteBuffer], 1); /* the flag is cleared on the device too */
    assert_ok(mglu_queue_wait(rig.queue));
    mglu_memory_destroy(&routing);
    mglu_memory_destroy(&x);
    mglu_memory_destroy(&y);
    rig_free(&rig);
    sample_free(&sample);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_statuses_and_texts),       cmocka_unit_test(test_every_call_can_fail),
        cmocka_unit_test(test_lost_device_stays_lost),   cmocka_unit_test(test_forward_only_enqueues),
        cmocka_unit_test(test_large_matrices_are_split), cmocka_unit_test(test_bad_routing_is_reported_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
