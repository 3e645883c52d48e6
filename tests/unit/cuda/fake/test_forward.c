/* SPDX-License-Identifier: MIT */
#include "use.h"

#include <mglu/cuda.h>

#include <pthread.h>

/* The driver calls of a forward: launches on the queue's stream, and on known memory nothing else. */

static void expect_calls(const char *const *calls)
{
    int count = 0;

    for (; calls[count]; count++) {
        assert_true(count < fake_log_count());
        assert_string_equal(fake_log_call(count), calls[count]);
    }
    assert_int_equal(fake_log_count(), count);
}

static void forward_launches_and_does_nothing_else(void **state)
{
    static const char *const calls[] = {"cuCtxPushCurrent", "cuLaunchKernelEx", "cuLaunchKernelEx",
                                        "cuLaunchKernelEx", "cuCtxPopCurrent",  NULL};
    struct use use;

    assert_ok(use_make(&use, NULL, NULL));
    assert_ok(rig_forward(&use.rig, use.args)); /* the first on this memory asks what it is */
    for (int i = 0; i < 2; i++) {
        fake_log_clear();
        assert_ok(rig_forward(&use.rig, use.args));
        expect_calls(calls);
        assert_string_equal(fake_launch_at(0).symbol, "mglu_route");
        assert_string_equal(fake_launch_at(1).symbol, "mglu_simt_f16_xf32_m2");
        assert_string_equal(fake_launch_at(2).symbol, "mglu_simt_f16_xf32_sum");
    }
    use_free(&use);
}

static void host_pointers_are_refused_before_a_launch(void **state)
{
    static const char *const names[] = {"x", "y", "residual", "the workspace"};
    float host[USE_BATCH * USE_H];
    struct use use;

    assert_ok(use_make(&use, NULL, NULL));
    for (int operand = 0; operand < 4; operand++) {
        mglu_forward_args args = use.args;

        args.x.data = operand == 0 ? host : args.x.data;
        args.residual.data = operand == 2 ? host : args.y.data;
        args.y.data = operand == 1 ? host : args.y.data;
        args.workspace = operand == 3 ? host : mglu_memory_data(use.rig.workspace);
        args.workspace_size = mglu_memory_size(use.rig.workspace);
        fake_log_clear();
        assert_status(mglu_forward(use.rig.layer, use.rig.queue, &args), MGLU_ERROR_INVALID_ARGUMENT);
        assert_error_says(names[operand]);
        assert_error_says("is not device memory");
        assert_int_equal(fake_launch_count(), 0);
    }
    assert_ok(rig_forward(&use.rig, use.args));
    use_free(&use);
}

/* Devices that read any memory of the process take them, and memory that the driver has allocated on the host. */
static void host_memory_that_kernels_can_read_is_accepted(void **state)
{
    float host[USE_BATCH * USE_H] = {0};
    struct use use;
    void *pinned;

    assert_ok(use_make(&use, NULL, NULL));
    assert_int_equal(cuInit(0), CUDA_SUCCESS);
    assert_int_equal(cuCtxPushCurrent((CUcontext)0x1000), CUDA_SUCCESS);
    assert_int_equal(cuMemHostAlloc(&pinned, sizeof host, 0), CUDA_SUCCESS);
    memcpy(pinned, host, sizeof host);
    use.args.x.data = pinned;
    assert_ok(rig_forward(&use.rig, use.args));
    assert_int_equal(cuMemFreeHost(pinned), CUDA_SUCCESS);
    assert_int_equal(cuCtxPopCurrent(&(CUcontext){NULL}), CUDA_SUCCESS);
    use_free(&use);
    fake_settings()->reads_host_memory = 1;
    assert_ok(use_make(&use, NULL, NULL));
    use.args.x.data = host;
    assert_ok(rig_forward(&use.rig, use.args));
    use_free(&use);
}

static void launches_go_to_the_callers_stream(void **state)
{
    CUcontext context, current;
    CUstream stream;
    struct use use;
    mglu_queue_desc desc;

    assert_int_equal(cuInit(0), CUDA_SUCCESS);
    assert_int_equal(cuDevicePrimaryCtxRetain(&context, 0), CUDA_SUCCESS);
    assert_int_equal(cuCtxPushCurrent(context), CUDA_SUCCESS);
    assert_int_equal(cuStreamCreate(&stream, 0), CUDA_SUCCESS);
    desc = mglu_cuda_queue_desc(stream);
    assert_ok(use_make(&use, NULL, desc.native_stream));
    assert_int_equal(fake_balance().streams, 1);
    fake_log_clear();
    assert_ok(rig_forward(&use.rig, use.args));
    for (int i = 0; i < 3; i++)
        assert_ptr_equal(fake_launch_at(i).stream, stream);
    use_free(&use);
    assert_int_equal(cuCtxGetCurrent(&current), CUDA_SUCCESS); /* the caller's, as it was */
    assert_ptr_equal(current, context);
    assert_int_equal(fake_balance().pushed, 1);
    assert_int_equal(cuStreamDestroy(stream), CUDA_SUCCESS); /* still the caller's */
    assert_int_equal(cuCtxPopCurrent(&context), CUDA_SUCCESS);
    assert_int_equal(cuDevicePrimaryCtxRelease(0), CUDA_SUCCESS);
}

static void the_legacy_stream_has_a_handle_of_its_own(void **state)
{
    struct use use;

    assert_ok(use_make(&use, NULL, mglu_cuda_queue_desc(NULL).native_stream));
    fake_log_clear();
    assert_ok(rig_forward(&use.rig, use.args));
    assert_ptr_equal(fake_launch_at(0).stream, CU_STREAM_LEGACY);
    use_free(&use);
}

static void run_forward(struct use *use)
{
    assert_ok(rig_forward(&use->rig, use->args));
}

static void destroy_layer(struct use *use)
{
    mglu_layer_destroy(&use->rig.layer);
}

static void wait_for_queue(struct use *use)
{
    assert_status(mglu_queue_wait(use->rig.queue), MGLU_ERROR_DEVICE);
}

static void destroy_queue(struct use *use)
{
    mglu_queue_destroy(&use->rig.queue);
}

static void destroy_layer_and_weights(struct use *use)
{
    mglu_layer_destroy(&use->rig.layer);
    mglu_weights_destroy(&use->rig.weights);
}

static void destroy_memory(struct use *use)
{
    mglu_memory_destroy(&use->x);
}

/* as documented in include/mglu/cuda.h */
static void a_capture_allows_forwards_and_destroying_layers_only(void **state)
{
    static const struct {
        void (*act)(struct use *use);
        int survives;
    } cases[] = {
        {run_forward, 1},
        {destroy_layer, 1},
        {wait_for_queue, 0},
        {destroy_queue, 0},
        {destroy_layer_and_weights, 0},
        {destroy_memory, 0},
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        CUgraph graph;
        struct use use;

        assert_ok(use_make(&use, NULL, mglu_cuda_queue_desc(NULL).native_stream));
        assert_int_equal(cuStreamBeginCapture(CU_STREAM_LEGACY, CU_STREAM_CAPTURE_MODE_GLOBAL), CUDA_SUCCESS);
        cases[i].act(&use);
        assert_int_equal(cuStreamEndCapture(CU_STREAM_LEGACY, &graph),
                         cases[i].survives ? CUDA_SUCCESS : CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
        if (cases[i].survives)
            assert_int_equal(cuGraphDestroy(graph), CUDA_SUCCESS);
        use_free(&use);
    }
}

/* On a device newer than the build the code comes from older PTX, which does not wait for the launch before it. */
static void launches_overlap_where_the_code_waits(void **state)
{
    static const int written_for[] = {80, 89, 90, 120};

    for (size_t i = 0; i < sizeof written_for / sizeof written_for[0]; i++) {
        struct use use;

        fake_settings()->written_for = written_for[i];
        assert_ok(use_make(&use, NULL, NULL));
        fake_log_clear();
        assert_ok(rig_forward(&use.rig, use.args));
        for (int k = 0; k < 3; k++)
            assert_int_equal(fake_launch_at(k).overlaps, written_for[i] >= 90);
        use_free(&use);
    }
}

/* More tokens than the workspace has room for: in chunks, each token with the bits that it has alone. */
static void a_large_batch_is_run_in_chunks(void **state)
{
    enum { TOKENS = 300, H = 8, D = 3, OUT = 2 };
    const struct sample_shape shape = {MGLU_KIND_MASKED, MGLU_DTYPE_F32, H, D, OUT, 2, WITH_DOWN};
    mglu_layer_desc layer = {.struct_size = sizeof layer, .max_batch = MGLU_MAX_BATCH};
    struct sample sample = sample_make(&shape, 3);
    struct rig rig = rig_make("cuda", NULL, &sample.desc, &layer);
    float together[TOKENS][OUT], alone[OUT], *x;
    mglu_forward_args args = {.batch = TOKENS};
    mglu_memory *on_device[2];
    uint32_t seed = 5;

    x = sample_array(MGLU_DTYPE_F32, TOKENS * H, 1, &seed);
    assert_ok(mglu_memory_create(rig.device, TOKENS * H * sizeof *x, &on_device[0]));
    assert_ok(mglu_memory_create(rig.device, sizeof together, &on_device[1]));
    assert_ok(mglu_memory_write(on_device[0], rig.queue, 0, x, TOKENS * H * sizeof *x));
    args.x.data = mglu_memory_data(on_device[0]);
    args.y.data = mglu_memory_data(on_device[1]);
    fake_log_clear();
    assert_ok(rig_forward(&rig, args));
    assert_int_equal(fake_launch_count(), 4);
    assert_ok(mglu_memory_read(on_device[1], rig.queue, 0, together, sizeof together));
    args.batch = 1;
    for (int token = 250; token < TOKENS; token += 7) {
        args.x.byte_offset = (size_t)token * H * sizeof *x;
        assert_ok(rig_forward(&rig, args));
        assert_ok(mglu_memory_read(on_device[1], rig.queue, 0, alone, sizeof alone));
        assert_memory_equal(alone, together[token], sizeof alone);
    }
    mglu_memory_destroy(&on_device[0]);
    mglu_memory_destroy(&on_device[1]);
    rig_free(&rig);
    free(x);
    sample_free(&sample);
}

static void *forward_often(void *user)
{
    struct use *use = user;
    float first = 0, expected = 0;

    for (int i = 0; i < 20; i++) {
        if (use_forward(use, &first) != MGLU_OK || (i > 0 && memcmp(&first, &expected, sizeof first) != 0))
            return use;
        expected = first;
    }
    return NULL;
}

static void two_threads_share_a_layer(void **state)
{
    struct use use[2];
    pthread_t threads[2];

    assert_ok(use_make(&use[0], NULL, NULL));
    use[1] = use[0];
    assert_ok(mglu_queue_create(use[0].rig.device, NULL, &use[1].rig.queue));
    assert_ok(
        mglu_memory_create(use[0].rig.device, mglu_layer_workspace_size(use[0].rig.layer), &use[1].rig.workspace));
    assert_ok(mglu_memory_create(use[0].rig.device, USE_BATCH * USE_OUT * sizeof(float), &use[1].y));
    use[1].args.y.data = mglu_memory_data(use[1].y);
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, forward_often, &use[i]), 0);
    for (int i = 0; i < 2; i++) {
        void *failed;
        assert_int_equal(pthread_join(threads[i], &failed), 0);
        assert_null(failed);
    }
    mglu_queue_destroy(&use[1].rig.queue);
    mglu_memory_destroy(&use[1].rig.workspace);
    mglu_memory_destroy(&use[1].y);
    use_free(&use[0]);
}

static void a_bad_routing_id_is_reported_once_at_wait(void **state)
{
    static const int32_t ids[USE_BATCH][USE_TOP_K] = {{0, 1}, {2, USE_MASKS}, {1, 0}};
    static const float weights[USE_BATCH][USE_TOP_K] = {{1, 2}, {3, 4}, {5, 6}};
    float y[USE_BATCH][USE_OUT];
    mglu_memory *routing;
    struct use use;

    assert_ok(use_make(&use, NULL, NULL));
    assert_ok(mglu_memory_create(use.rig.device, sizeof ids + sizeof weights, &routing));
    assert_ok(mglu_memory_write(routing, use.rig.queue, 0, ids, sizeof ids));
    assert_ok(mglu_memory_write(routing, use.rig.queue, sizeof ids, weights, sizeof weights));
    use.args.routing_ids.data = mglu_memory_data(routing);
    use.args.routing_weights = (mglu_input){.data = mglu_memory_data(routing), .byte_offset = sizeof ids};
    assert_ok(rig_forward(&use.rig, use.args));
    assert_ok(mglu_memory_read(use.y, use.rig.queue, 0, y, sizeof y));
    for (int token = 0; token < USE_BATCH; token++)
        for (int column = 0; column < USE_OUT; column++)
            assert_int_equal(y[token][column] != y[token][column], token == 1);
    assert_status(mglu_queue_wait(use.rig.queue), MGLU_ERROR_BAD_ROUTING);
    assert_ok(mglu_queue_wait(use.rig.queue));
    mglu_memory_destroy(&routing);
    use_free(&use);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(forward_launches_and_does_nothing_else, reset, no_leak),
        cmocka_unit_test_setup_teardown(host_pointers_are_refused_before_a_launch, reset, no_leak),
        cmocka_unit_test_setup_teardown(host_memory_that_kernels_can_read_is_accepted, reset, no_leak),
        cmocka_unit_test_setup_teardown(launches_go_to_the_callers_stream, reset, no_leak),
        cmocka_unit_test_setup_teardown(the_legacy_stream_has_a_handle_of_its_own, reset, no_leak),
        cmocka_unit_test_setup_teardown(a_capture_allows_forwards_and_destroying_layers_only, reset, no_leak),
        cmocka_unit_test_setup_teardown(launches_overlap_where_the_code_waits, reset, no_leak),
        cmocka_unit_test_setup_teardown(a_large_batch_is_run_in_chunks, reset, no_leak),
        cmocka_unit_test_setup_teardown(two_threads_share_a_layer, reset, no_leak),
        cmocka_unit_test_setup_teardown(a_bad_routing_id_is_reported_once_at_wait, reset, no_leak),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
