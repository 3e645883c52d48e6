/* SPDX-License-Identifier: MIT */
#include "tests/unit/sample.h"

#include <mglu/cuda.h>

#include <cuda.h>
#include <cudaTypedefs.h>

#include <dlfcn.h>
#include <stdio.h>

/*
 * Every replay of a forward captured in a CUDA graph has the bits of a plain forward: on a real device, or on the
 * driver of this folder.
 */

enum { H = 512, D = 200, OUT = 72, MASKS = 4, TOP_K = 2, BATCH = 3, SKIPPED = 77 };

static struct {
    PFN_cuDevicePrimaryCtxRetain_v7000 primary_ctx_retain;
    PFN_cuDevicePrimaryCtxRelease_v11000 primary_ctx_release;
    PFN_cuCtxPushCurrent_v4000 ctx_push_current;
    PFN_cuCtxPopCurrent_v4000 ctx_pop_current;
    PFN_cuStreamCreate_v2000 stream_create;
    PFN_cuStreamDestroy_v4000 stream_destroy;
    PFN_cuStreamBeginCapture_v10010 begin_capture;
    PFN_cuStreamEndCapture_v10000 end_capture;
    PFN_cuGraphInstantiateWithFlags_v11040 instantiate;
    PFN_cuGraphLaunch_v10000 launch;
    PFN_cuGraphExecDestroy_v10000 exec_destroy;
    PFN_cuGraphDestroy_v10000 destroy;
} driver;

static void find(void *library, const char *name, void *function)
{
    void *address = dlsym(library, name);

    assert_non_null(address);
    memcpy(function, &address, sizeof address);
}

static void open_driver(void)
{
    void *library = dlopen("libcuda.so.1", RTLD_NOW);

    assert_non_null(library);
    find(library, "cuDevicePrimaryCtxRetain", &driver.primary_ctx_retain);
    find(library, "cuDevicePrimaryCtxRelease_v2", &driver.primary_ctx_release);
    find(library, "cuCtxPushCurrent_v2", &driver.ctx_push_current);
    find(library, "cuCtxPopCurrent_v2", &driver.ctx_pop_current);
    find(library, "cuStreamCreate", &driver.stream_create);
    find(library, "cuStreamDestroy_v2", &driver.stream_destroy);
    find(library, "cuStreamBeginCapture_v2", &driver.begin_capture);
    find(library, "cuStreamEndCapture", &driver.end_capture);
    find(library, "cuGraphInstantiateWithFlags", &driver.instantiate);
    find(library, "cuGraphLaunch", &driver.launch);
    find(library, "cuGraphExecDestroy", &driver.exec_destroy);
    find(library, "cuGraphDestroy", &driver.destroy);
}

/* Whether there is any device. */
static int has_device(void)
{
    mglu_context *context;
    mglu_device *device;
    int found = mglu_context_create(NULL, &context) == MGLU_OK && mglu_device_pick(context, "cuda", &device) == MGLU_OK;

    if (!found)
        fprintf(stderr, "%s\n", mglu_last_error());
    mglu_context_destroy(&context);
    return found;
}

/* A layer on a stream of the caller's, with x and y. */
struct setup {
    struct sample sample;
    struct rig rig;
    mglu_memory *x, *y;
    mglu_forward_args args;
};

static struct setup setup_make(CUstream stream, int32_t top_k)
{
    static const struct sample_shape shape = {
        MGLU_KIND_MASKED, MGLU_DTYPE_F16, H, D, OUT, MASKS, WITH_ROUTER | WITH_DOWN | WITH_BIASES};
    const mglu_layer_desc layer = {
        .struct_size = sizeof layer, .x_dtype = MGLU_DTYPE_F16, .top_k = top_k, .max_batch = BATCH};
    const mglu_queue_desc desc = mglu_cuda_queue_desc(stream);
    struct setup setup = {.sample = sample_make(&shape, 9)};

    setup.rig = rig_make("cuda", NULL, &setup.sample.desc, &layer);
    mglu_queue_destroy(&setup.rig.queue);
    assert_ok(mglu_queue_create(setup.rig.device, &desc, &setup.rig.queue));
    assert_ok(mglu_memory_create(setup.rig.device, BATCH * H * sizeof(uint16_t), &setup.x));
    assert_ok(mglu_memory_create(setup.rig.device, BATCH * OUT * sizeof(float), &setup.y));
    setup.args =
        (mglu_forward_args){.batch = BATCH, .x.data = mglu_memory_data(setup.x), .y.data = mglu_memory_data(setup.y)};
    return setup;
}

static void setup_free(struct setup *setup)
{
    mglu_memory_destroy(&setup->x);
    mglu_memory_destroy(&setup->y);
    rig_free(&setup->rig);
    sample_free(&setup->sample);
}

static void set_x(const struct setup *setup, uint32_t seed)
{
    uint16_t *x = sample_array(MGLU_DTYPE_F16, BATCH * H, 1, &seed);

    assert_ok(mglu_memory_write(setup->x, setup->rig.queue, 0, x, BATCH * H * sizeof *x));
    free(x);
}

static void read_y(const struct setup *setup, float y[BATCH * OUT])
{
    assert_ok(mglu_queue_wait(setup->rig.queue));
    assert_ok(mglu_memory_read(setup->y, setup->rig.queue, 0, y, BATCH * OUT * sizeof *y));
}

static void poison_y(const struct setup *setup)
{
    float nans[BATCH * OUT];

    memset(nans, 0xff, sizeof nans);
    assert_ok(mglu_memory_write(setup->y, setup->rig.queue, 0, nans, sizeof nans));
}

static void fail_if_called(void *user, mglu_status status)
{
    fail();
}

static CUgraphExec capture(struct setup *setup, CUstream stream, CUgraph *graph)
{
    CUgraphExec executable;

    assert_int_equal(driver.begin_capture(stream, CU_STREAM_CAPTURE_MODE_GLOBAL), CUDA_SUCCESS);
    assert_ok(rig_forward(&setup->rig, setup->args));
    /* Refused by name, and the capture goes on. */
    assert_status(mglu_queue_notify(setup->rig.queue, fail_if_called, NULL), MGLU_ERROR_INVALID_ARGUMENT);
    assert_error_says("is captured");
    assert_int_equal(driver.end_capture(stream, graph), CUDA_SUCCESS);
    assert_int_equal(driver.instantiate(&executable, *graph, 0), CUDA_SUCCESS);
    return executable;
}

static void check_replays(CUstream stream, int32_t top_k)
{
    struct setup setup = setup_make(stream, top_k);
    float eager[BATCH * OUT], replayed[BATCH * OUT];
    CUgraph graph;
    CUgraphExec executable;

    set_x(&setup, 1);
    executable = capture(&setup, stream, &graph);
    for (uint32_t seed = 2; seed < 6; seed++) {
        set_x(&setup, seed);
        poison_y(&setup);
        assert_ok(rig_forward(&setup.rig, setup.args));
        read_y(&setup, eager);
        assert_true(eager[0] == eager[0]);
        poison_y(&setup);
        assert_int_equal(driver.launch(executable, stream), CUDA_SUCCESS);
        read_y(&setup, replayed);
        assert_memory_equal(replayed, eager, sizeof eager);
    }
    assert_int_equal(driver.exec_destroy(executable), CUDA_SUCCESS);
    assert_int_equal(driver.destroy(graph), CUDA_SUCCESS);
    setup_free(&setup);
}

static void a_replayed_graph_gives_the_bits_of_a_forward(void **state)
{
    CUcontext context;
    CUstream stream;

    open_driver();
    assert_int_equal(driver.primary_ctx_retain(&context, 0), CUDA_SUCCESS);
    assert_int_equal(driver.ctx_push_current(context), CUDA_SUCCESS);
    assert_int_equal(driver.stream_create(&stream, CU_STREAM_NON_BLOCKING), CUDA_SUCCESS);
    check_replays(stream, 0);
    check_replays(stream, TOP_K);
    assert_int_equal(driver.stream_destroy(stream), CUDA_SUCCESS);
    assert_int_equal(driver.ctx_pop_current(&context), CUDA_SUCCESS);
    assert_int_equal(driver.primary_ctx_release(0), CUDA_SUCCESS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_replayed_graph_gives_the_bits_of_a_forward),
    };

    if (!has_device())
        return SKIPPED;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
