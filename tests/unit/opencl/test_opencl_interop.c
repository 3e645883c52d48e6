/* SPDX-License-Identifier: MIT */
#include "session.h"

#include <dlfcn.h>
#include <math.h>

/* A program that uses OpenCL itself: its context, queue, buffers and events, on whatever driver is installed. */

enum { H = 40, D = 300, BATCH = 3, GAP = 5 };

static const mglu_layer_desc layer_desc = {.struct_size = sizeof layer_desc, .max_batch = BATCH};

/* The program's own objects. */
struct host {
    struct mglu_opencl_driver cl;
    cl_device_id device;
    cl_context context;
    cl_command_queue queue;
};

static cl_context make_context(const struct host *host)
{
    cl_int code;
    cl_context context = host->cl.clCreateContext(NULL, 1, &host->device, NULL, NULL, &code);

    assert_int_equal(code, CL_SUCCESS);
    return context;
}

static cl_command_queue make_queue(const struct host *host, cl_context context, cl_command_queue_properties properties)
{
    cl_int code;
    cl_command_queue queue = host->cl.clCreateCommandQueue(context, host->device, properties, &code);

    assert_int_equal(code, CL_SUCCESS);
    return queue;
}

/* Skips the test where there is no device. The library lists the same device first. */
static void host_open(struct host *host)
{
    cl_platform_id platforms[8];
    cl_uint count = 0;
    char reason[200];

    if (!mglu_opencl_driver_open(&host->cl, reason, sizeof reason)) {
        print_message("%s\n", reason);
        skip();
    }
    host->device = NULL;
    if (host->cl.clGetPlatformIDs(8, platforms, &count) != CL_SUCCESS)
        count = 0;
    for (cl_uint i = 0; i < count && i < 8 && !host->device; i++)
        if (host->cl.clGetDeviceIDs(platforms[i], CL_DEVICE_TYPE_ALL, 1, &host->device, NULL) != CL_SUCCESS)
            host->device = NULL;
    if (!host->device) {
        print_message("no OpenCL device\n");
        skip();
    }
    host->context = make_context(host);
    host->queue = make_queue(host, host->context, 0);
}

static void host_close(struct host *host)
{
    host->cl.clReleaseCommandQueue(host->queue);
    host->cl.clReleaseContext(host->context);
}

static cl_mem make_buffer(const struct host *host, const void *from, size_t size)
{
    cl_int code;
    cl_mem buffer = host->cl.clCreateBuffer(host->context, CL_MEM_READ_WRITE | (from ? CL_MEM_COPY_HOST_PTR : 0), size,
                                            (void *)(uintptr_t)from, &code);

    assert_int_equal(code, CL_SUCCESS);
    return buffer;
}

static void make_rig(struct rig *rig, const mglu_opencl_stream *stream, const struct sample *sample)
{
    assert_ok(mglu_context_create(NULL, &rig->context));
    assert_ok(mglu_device_pick(rig->context, "opencl", &rig->device));
    assert_ok(mglu_opencl_share_queue(rig->device, stream, &rig->queue));
    assert_ok(mglu_weights_create(rig->device, &sample->desc, &rig->weights));
    assert_ok(mglu_layer_create(rig->weights, &layer_desc, &rig->layer));
    assert_ok(mglu_memory_create(rig->device, mglu_layer_workspace_size(rig->layer), &rig->workspace));
}

static const struct sample_shape shape = {
    .kind = MGLU_KIND_MASKED, .dtype = MGLU_DTYPE_F16, .h = H, .d = D, .n_masks = 3};

static void compute_on_cpu(const struct sample *sample, const float *x, float *y)
{
    struct rig rig = rig_make("cpu", NULL, &sample->desc, &layer_desc);

    assert_ok(rig_forward(&rig, (mglu_forward_args){.batch = BATCH, .x.data = x, .y.data = y}));
    assert_ok(mglu_queue_wait(rig.queue));
    rig_free(&rig);
}

/* x at an offset and with gaps, y without; the event marks the end of the work. */
static void test_callers_queue_buffers_and_event(void **state)
{
    float x[BATCH * H], spread[1 + BATCH * (H + GAP)] = {0}, want[BATCH * D], got[BATCH * D];
    uint32_t seed = 7;
    cl_event event = NULL;
    struct host host;
    struct rig rig = {0};

    host_open(&host);
    struct sample sample = sample_make(&shape, 1);
    mglu_opencl_stream stream = {.struct_size = sizeof stream, .queue = host.queue, .event = &event};
    for (int i = 0; i < BATCH * H; i++)
        spread[1 + i / H * (H + GAP) + i % H] = x[i] = sample_number(&seed);
    compute_on_cpu(&sample, x, want);
    make_rig(&rig, &stream, &sample);
    cl_mem in = make_buffer(&host, spread, sizeof spread), out = make_buffer(&host, NULL, sizeof got);
    assert_ok(rig_forward(&rig, (mglu_forward_args){.batch = BATCH,
                                                    .x = mglu_opencl_input(in, sizeof(float), H + GAP),
                                                    .y = mglu_opencl_output(out, 0, 0)}));
    assert_non_null(event);
    assert_int_equal(host.cl.clEnqueueReadBuffer(host.queue, out, CL_TRUE, 0, sizeof got, got, 1, &event, NULL),
                     CL_SUCCESS);
    for (int i = 0; i < BATCH * D; i++)
        assert_true(fabsf(got[i] - want[i]) <= 1e-5f * (1 + fabsf(want[i])));
    /* The same again, after the first: its event is waited for. */
    const cl_event first = event;
    stream.wait_count = 1;
    stream.wait_list = &first;
    assert_ok(rig_forward(&rig, (mglu_forward_args){.batch = BATCH,
                                                    .x = mglu_opencl_input(in, sizeof(float), H + GAP),
                                                    .y = mglu_opencl_output(out, 0, 0)}));
    assert_ok(mglu_queue_wait(rig.queue));
    assert_true(event != first);
    host.cl.clReleaseMemObject(in);
    host.cl.clReleaseMemObject(out);
    rig_free(&rig);
    host_close(&host);
    sample_free(&sample);
}

/* A function that the library does not use. */
static void *find(const char *name)
{
    return dlsym(dlopen("libOpenCL.so.1", RTLD_NOW | RTLD_LOCAL), name);
}

/* The forward waits for an event of the program's, so that it is late for as long as the test likes. */
static void test_waits_with_a_limit(void **state)
{
    __typeof__(clCreateUserEvent) *create_event;
    __typeof__(clSetUserEventStatus) *set_status;
    float x[BATCH * H], want[BATCH * D], got[BATCH * D];
    cl_event done = NULL, gate;
    uint32_t seed = 9;
    struct host host;
    struct rig rig = {0};

    host_open(&host);
    *(void **)(void *)&create_event = find("clCreateUserEvent");
    *(void **)(void *)&set_status = find("clSetUserEventStatus");
    gate = create_event(host.context, NULL);
    struct sample sample = sample_make(&shape, 2);
    mglu_opencl_stream stream = {
        .struct_size = sizeof stream, .wait_count = 1, .queue = host.queue, .wait_list = &gate, .event = &done};
    for (int i = 0; i < BATCH * H; i++)
        x[i] = sample_number(&seed);
    compute_on_cpu(&sample, x, want);
    make_rig(&rig, &stream, &sample);
    cl_mem in = make_buffer(&host, x, sizeof x), out = make_buffer(&host, NULL, sizeof got);
    assert_ok(mglu_queue_wait_for(rig.queue, 0));
    assert_ok(rig_forward(
        &rig,
        (mglu_forward_args){.batch = BATCH, .x = mglu_opencl_input(in, 0, 0), .y = mglu_opencl_output(out, 0, 0)}));
    assert_status(mglu_queue_wait_for(rig.queue, 0), MGLU_ERROR_TIMEOUT);
    assert_status(mglu_queue_wait_for(rig.queue, 2000000), MGLU_ERROR_TIMEOUT);
    mglu_queue_cancel_wait(rig.queue);
    assert_status(mglu_queue_wait_for(rig.queue, MGLU_WAIT_FOREVER), MGLU_ERROR_CANCELLED);
    assert_int_equal(set_status(gate, CL_COMPLETE), CL_SUCCESS);
    assert_ok(mglu_queue_wait_for(rig.queue, MGLU_WAIT_FOREVER));
    assert_int_equal(host.cl.clEnqueueReadBuffer(host.queue, out, CL_TRUE, 0, sizeof got, got, 0, NULL, NULL),
                     CL_SUCCESS);
    for (int i = 0; i < BATCH * D; i++)
        assert_true(fabsf(got[i] - want[i]) <= 1e-5f * (1 + fabsf(want[i])));
    host.cl.clReleaseEvent(done);
    host.cl.clReleaseEvent(gate);
    host.cl.clReleaseMemObject(in);
    host.cl.clReleaseMemObject(out);
    rig_free(&rig);
    host_close(&host);
    sample_free(&sample);
}

static void test_one_context_for_a_device(void **state)
{
    mglu_queue *queue = NULL;
    struct host host;
    struct rig rig = {0};

    host_open(&host);
    const mglu_opencl_stream stream = {.struct_size = sizeof stream, .queue = host.queue};
    assert_ok(mglu_context_create(NULL, &rig.context));
    assert_ok(mglu_device_pick(rig.context, "opencl", &rig.device));
    assert_ok(mglu_memory_create(rig.device, 64, &rig.workspace));
    assert_status(mglu_opencl_share_queue(rig.device, &stream, &queue), MGLU_ERROR_INVALID_ARGUMENT);
    assert_error_says("another cl_context");
    assert_ok(mglu_queue_create(rig.device, NULL, &rig.queue));
    rig_free(&rig);
    host_close(&host);
}

static void test_streams_that_are_refused(void **state)
{
    struct host host;
    struct rig rig = {0};

    host_open(&host);
    cl_command_queue unordered = make_queue(&host, host.context, CL_QUEUE_OUT_OF_ORDER_EXEC_MODE_ENABLE);
    mglu_opencl_stream stream = {.struct_size = sizeof stream, .queue = unordered};
    assert_ok(mglu_context_create(NULL, &rig.context));
    assert_ok(mglu_device_pick(rig.context, "opencl", &rig.device));
    assert_status(mglu_opencl_share_queue(rig.device, &stream, &rig.queue), MGLU_ERROR_INVALID_ARGUMENT);
    assert_error_says("out of order");
    stream.struct_size = 1;
    assert_status(mglu_opencl_share_queue(rig.device, &stream, &rig.queue), MGLU_ERROR_VERSION_MISMATCH);
    assert_null(rig.queue);
    host.cl.clReleaseCommandQueue(unordered);
    rig_free(&rig);
    host_close(&host);
}

/* One forward in whose arguments `data` stands for one operand. */
struct stranger {
    const char *name;
    const void *data;
    const char *says;
};

static void expect_refusal(const struct host *host, struct rig *rig, int operand, const struct stranger *stranger)
{
    static const char *const operands[] = {"x", "y", "residual", "the workspace"};
    void *data = (void *)(uintptr_t)stranger->data;
    cl_mem good = make_buffer(host, NULL, BATCH * (H + D) * sizeof(float));
    mglu_forward_args args = {.struct_size = sizeof args,
                              .batch = BATCH,
                              .x.data = operand == 0 ? data : good,
                              .y.data = operand == 1 ? data : good,
                              .residual.data = operand == 2 ? data : good,
                              .workspace = operand == 3 ? data : mglu_memory_data(rig->workspace),
                              .workspace_size = mglu_memory_size(rig->workspace)};

    print_message("%s as %s\n", stranger->name, operands[operand]);
    assert_status(mglu_forward(rig->layer, rig->queue, &args), MGLU_ERROR_INVALID_ARGUMENT);
    assert_error_says(operands[operand]);
    assert_error_says(stranger->says);
    args.x.data = args.residual.data = args.y.data = good;
    args.workspace = mglu_memory_data(rig->workspace);
    assert_ok(mglu_forward(rig->layer, rig->queue, &args)); /* nothing is left of the refused call */
    assert_ok(mglu_queue_wait(rig->queue));
    host->cl.clReleaseMemObject(good);
}

/* An address is never followed, also where it is none. */
static void what_is_no_buffer_of_the_context_is_refused(void **state)
{
    const mglu_layer_desc with_down = {.struct_size = sizeof with_down, .max_batch = BATCH};
    const struct sample_shape down = {
        .kind = MGLU_KIND_MASKED, .dtype = MGLU_DTYPE_F32, .h = H, .d = D, .out = D, .n_masks = 1, .parts = WITH_DOWN};
    float numbers[BATCH * H] = {0};
    struct host host, other;
    struct rig rig = {0};

    host_open(&host);
    host_open(&other);
    struct sample sample = sample_make(&down, 1);
    mglu_opencl_stream stream = {.struct_size = sizeof stream, .queue = host.queue};
    cl_mem foreign = make_buffer(&other, NULL, 1 << 16), small = make_buffer(&host, NULL, sizeof(float));
    const struct stranger strangers[] = {
        {"a host pointer", numbers, "not a cl_mem"},
        {"an odd host pointer", (char *)numbers + 1, "not a cl_mem"},
        {"an address without memory", (void *)64, "not a cl_mem"},
        {"a number", (void *)UINTPTR_MAX, "not a cl_mem"},
        {"a buffer of another context", foreign, "another cl_context"},
        {"a buffer of one number", small, "bytes, its buffer has 4"},
    };

    assert_ok(mglu_context_create(NULL, &rig.context));
    assert_ok(mglu_device_pick(rig.context, "opencl", &rig.device));
    assert_ok(mglu_opencl_share_queue(rig.device, &stream, &rig.queue));
    assert_ok(mglu_weights_create(rig.device, &sample.desc, &rig.weights));
    assert_ok(mglu_layer_create(rig.weights, &with_down, &rig.layer));
    assert_ok(mglu_memory_create(rig.device, mglu_layer_workspace_size(rig.layer), &rig.workspace));
    for (size_t i = 0; i < sizeof strangers / sizeof strangers[0]; i++)
        for (int operand = 0; operand < 4; operand++)
            expect_refusal(&host, &rig, operand, &strangers[i]);
    host.cl.clReleaseMemObject(foreign);
    host.cl.clReleaseMemObject(small);
    rig_free(&rig);
    host_close(&other);
    host_close(&host);
    sample_free(&sample);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_callers_queue_buffers_and_event),
        cmocka_unit_test(test_waits_with_a_limit),
        cmocka_unit_test(test_one_context_for_a_device),
        cmocka_unit_test(test_streams_that_are_refused),
        cmocka_unit_test(what_is_no_buffer_of_the_context_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
