/* SPDX-License-Identifier: MIT */
#include "sample.h"
#include "told.h"

#include <math.h>
#include <string.h>
#include <sys/stat.h>

/* What a forward brings itself and what it leaves to the library: threads, the queue, the workspace. */

enum { H = 512, D = 192, BATCH = 3, MASKS = 2 };

static const char *const backends[] = {"cpu", "ref"};

/* Large enough that its loops are divided into tasks. */
static const struct sample_shape shape = {MGLU_KIND_MASKED, MGLU_DTYPE_F32, H, D, D, MASKS, WITH_DOWN};

struct made {
    struct sample sample;
    struct rig rig;
    float *x, y[BATCH * D];
};

static struct made make(const char *backend, const mglu_context_desc *context, int32_t top_k)
{
    const mglu_layer_desc layer = {.struct_size = sizeof layer, .top_k = top_k, .max_batch = BATCH};
    struct made made = {.sample = sample_make(&shape, 5)};
    uint32_t seed = 7;

    made.rig = rig_make(backend, context, &made.sample.desc, &layer);
    made.x = sample_array(MGLU_DTYPE_F32, BATCH * H, 1, &seed);
    return made;
}

static void destroy(struct made *made)
{
    free(made->x);
    rig_free(&made->rig);
    sample_free(&made->sample);
}

static mglu_forward_args args_of(struct made *made)
{
    return (mglu_forward_args){.struct_size = sizeof(mglu_forward_args),
                               .batch = BATCH,
                               .x.data = made->x,
                               .y.data = made->y,
                               .workspace = mglu_memory_data(made->rig.workspace),
                               .workspace_size = mglu_memory_size(made->rig.workspace)};
}

static void run_backwards(void *user, int64_t count, mglu_task task, void *argument)
{
    ++*(int *)user;
    for (int64_t i = count; i-- > 0;)
        task(argument, i);
}

static nlink_t threads(void)
{
    struct stat folder;

    return stat("/proc/self/task", &folder) == 0 ? folder.st_nlink : 0;
}

static void the_threads_of_a_call_are_used_in_it_and_in_no_other(void **state)
{
    int of_context = 0, of_call = 0;
    const mglu_parallel contexts = {.user = &of_context, .parallel_for = run_backwards},
                        calls = {.user = &of_call, .parallel_for = run_backwards};
    const mglu_context_desc descs[] = {
        {.struct_size = sizeof(mglu_context_desc), .num_threads = 1},
        {.struct_size = sizeof(mglu_context_desc), .parallel = &contexts},
    };

    for (size_t i = 0; i < sizeof descs / sizeof descs[0]; i++) {
        struct made made = make("cpu", &descs[i], 0);
        mglu_forward_args args = args_of(&made);
        const nlink_t before = threads();
        float y[BATCH * D];

        assert_ok(mglu_forward(made.rig.layer, made.rig.queue, &args));
        memcpy(y, made.y, sizeof y);
        of_context = of_call = 0;
        args.parallel = &calls;
        assert_ok(mglu_forward(made.rig.layer, made.rig.queue, &args));
        assert_memory_equal(made.y, y, sizeof y);
        assert_true(of_call > 0);
        assert_int_equal(of_context, 0);
        of_call = 0;
        args.parallel = NULL;
        assert_ok(mglu_forward(made.rig.layer, made.rig.queue, &args));
        assert_int_equal(of_call, 0);
        assert_int_equal(of_context > 0, descs[i].parallel != NULL);
        assert_int_equal(threads(), before);
        destroy(&made);
    }
}

static void threads_without_a_function_or_a_number_of_them_are_refused(void **state)
{
    static const struct {
        mglu_parallel parallel;
        const char *error;
    } cases[] = {
        {{0}, "parallel: parallel_for is NULL"},
        {{NULL, run_backwards, -1}, "parallel: num_threads is -1, must be 0 (not known) or more"},
    };
    struct made made = make("cpu", NULL, 0);
    mglu_forward_args args = args_of(&made);

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const mglu_context_desc desc = {.struct_size = sizeof desc, .parallel = &cases[i].parallel};
        mglu_context *context;

        args.parallel = &cases[i].parallel;
        assert_status(mglu_forward(made.rig.layer, made.rig.queue, &args), MGLU_ERROR_INVALID_ARGUMENT);
        assert_error_says(cases[i].error);
        assert_status(mglu_context_create(&desc, &context), MGLU_ERROR_INVALID_ARGUMENT);
        assert_error_says(cases[i].error);
    }
    destroy(&made);
}

static void args_of_the_first_version_have_no_threads(void **state)
{
    struct made made = make("cpu", NULL, 0);
    mglu_forward_args args = args_of(&made);

    args.struct_size = offsetof(mglu_forward_args, parallel);
    args.parallel = (const mglu_parallel *)(uintptr_t)1; /* behind the caller's struct */
    assert_ok(mglu_forward(made.rig.layer, made.rig.queue, &args));
    destroy(&made);
}

static void without_a_queue_the_work_is_done_at_once(void **state)
{
    for (size_t i = 0; i < sizeof backends / sizeof backends[0]; i++) {
        struct made made = make(backends[i], NULL, 0);
        const mglu_forward_args args = args_of(&made);
        float y[BATCH * D], number = 5;
        mglu_memory *memory;

        assert_ok(mglu_forward(made.rig.layer, made.rig.queue, &args));
        assert_ok(mglu_queue_wait(made.rig.queue));
        memcpy(y, made.y, sizeof y);
        memset(made.y, 0xff, sizeof y);
        assert_ok(mglu_forward(made.rig.layer, NULL, &args));
        assert_memory_equal(made.y, y, sizeof y);
        assert_ok(mglu_memory_create(made.rig.device, sizeof number, &memory));
        assert_ok(mglu_memory_write(memory, NULL, 0, &number, sizeof number));
        number = 0;
        assert_ok(mglu_memory_read(memory, NULL, 0, &number, sizeof number));
        assert_true(number == 5);
        mglu_memory_destroy(&memory);
        destroy(&made);
    }
}

static void without_a_queue_a_bad_routing_id_is_an_error_of_the_call(void **state)
{
    for (size_t i = 0; i < sizeof backends / sizeof backends[0]; i++) {
        struct made made = make(backends[i], NULL, 1);
        int32_t ids[BATCH] = {1, MASKS, 0};
        const float p[BATCH] = {1, 1, 1};
        mglu_forward_args args = args_of(&made);

        args.routing_ids.data = ids;
        args.routing_weights.data = p;
        assert_status(mglu_forward(made.rig.layer, NULL, &args), MGLU_ERROR_BAD_ROUTING);
        assert_error_says("routing id");
        assert_true(isfinite(made.y[0]) && isnan(made.y[D]) && isfinite(made.y[(size_t)2 * D]));
        assert_ok(mglu_queue_wait(made.rig.queue)); /* another queue has no part in it */
        ids[1] = 0;
        assert_ok(mglu_forward(made.rig.layer, NULL, &args));
        destroy(&made);
    }
}

static void a_queue_whose_work_is_done_notifies_at_once(void **state)
{
    for (size_t i = 0; i < sizeof backends / sizeof backends[0]; i++) {
        struct made made = make(backends[i], NULL, 1);
        const int32_t ids[BATCH] = {0, MASKS, 0};
        const float p[BATCH] = {1, 1, 1};
        mglu_forward_args args = args_of(&made);
        struct told told = {0};

        args.routing_ids.data = ids;
        args.routing_weights.data = p;
        assert_ok(mglu_queue_notify(made.rig.queue, tell, &told));
        assert_int_equal(told.calls, 1);
        assert_int_equal(told.status, MGLU_OK);
        assert_ok(mglu_forward(made.rig.layer, made.rig.queue, &args));
        assert_ok(mglu_queue_notify(made.rig.queue, tell, &told));
        assert_int_equal(told.calls, 2);
        assert_int_equal(told.status, MGLU_ERROR_BAD_ROUTING);
        assert_status(mglu_queue_wait(made.rig.queue), MGLU_ERROR_BAD_ROUTING); /* as if nobody had been told */
        assert_ok(mglu_queue_notify(made.rig.queue, tell, &told));
        assert_int_equal(told.status, MGLU_OK);
        assert_status(mglu_queue_notify(NULL, tell, &told), MGLU_ERROR_INVALID_ARGUMENT);
        assert_status(mglu_queue_notify(made.rig.queue, NULL, &told), MGLU_ERROR_INVALID_ARGUMENT);
        assert_int_equal(told.calls, 3);
        destroy(&made);
    }
}

static const struct sample_shape shapes[] = {
    {MGLU_KIND_MASKED, MGLU_DTYPE_F32, 33, 17, 5, 1, WITH_DOWN},
    {MGLU_KIND_MASKED, MGLU_DTYPE_BF16, 70, 300, 40, 4, WITH_DOWN | WITH_BIASES | WITH_ROUTER},
    {MGLU_KIND_MASKED, MGLU_DTYPE_F16, 70, 300, 0, 16, WITH_ROUTER},
    {MGLU_KIND_MASKED, MGLU_DTYPE_Q8_0, 640, 40, 9, 2, WITH_DOWN},
    {MGLU_KIND_PLAIN, MGLU_DTYPE_Q4_0, 33, 40, 70, 0, WITH_DOWN | WITH_BIASES},
    {MGLU_KIND_PLAIN, MGLU_DTYPE_F32, 33, 17, 0, 0, 0},
    {MGLU_KIND_MASKED, MGLU_DTYPE_F32, 0, 9, 0, 2, WITH_BIASES},
    {MGLU_KIND_MASKED, MGLU_DTYPE_F32, 5, 0, 0, 2, 0},
    {MGLU_KIND_MASKED, MGLU_DTYPE_F32, 5, 0, 3, 2, WITH_DOWN},
};

static void require_one_size(struct rig *rig, const mglu_weights_desc *weights, const mglu_layer_desc *layer)
{
    size_t size, before = 0;

    for (int64_t batch = 0; batch <= layer->max_batch; before = size, batch++) {
        assert_ok(mglu_workspace_size(rig->device, weights, layer, batch, &size));
        assert_int_equal(size, mglu_layer_workspace_size_for(rig->layer, batch));
        assert_true(size >= before && (batch > 0 || size == 0));
    }
    assert_int_equal(before, mglu_layer_workspace_size(rig->layer));
}

static void the_workspace_is_known_for_each_batch_and_before_there_are_weights(void **state)
{
    for (size_t i = 0; i < sizeof backends / sizeof backends[0]; i++)
        for (size_t k = 0; k < sizeof shapes / sizeof shapes[0]; k++)
            for (uint32_t flags = 0; flags <= MGLU_LAYER_ALLOW_QUANTISED_X; flags++) {
                const mglu_layer_desc layer = {.struct_size = sizeof layer,
                                               .flags = flags,
                                               .x_dtype = flags ? MGLU_DTYPE_F32 : MGLU_DTYPE_BF16,
                                               .top_k = shapes[k].parts & WITH_ROUTER ? shapes[k].n_masks / 2 : 0,
                                               .max_batch = 40 + 120 * (int64_t)(k % 2)};
                struct sample sample = sample_make(&shapes[k], 1);
                struct rig rig = rig_make(backends[i], NULL, &sample.desc, &layer);

                require_one_size(&rig, &sample.desc, &layer);
                rig_free(&rig);
                sample_free(&sample);
            }
}

static void a_workspace_for_a_batch_that_the_layer_refuses_has_no_size(void **state)
{
    struct made made = make("cpu", NULL, 0);
    const mglu_layer_desc layer = {.struct_size = sizeof layer, .max_batch = BATCH}, invalid = {.struct_size = 1};
    const mglu_weights_desc *weights = &made.sample.desc;
    size_t size = 5;

    assert_int_equal(mglu_layer_workspace_size_for(NULL, 1), 0);
    for (int64_t batch = -1; batch <= BATCH + 1; batch += BATCH + 2) {
        assert_int_equal(mglu_layer_workspace_size_for(made.rig.layer, batch), 0);
        assert_status(mglu_workspace_size(made.rig.device, weights, &layer, batch, &size), MGLU_ERROR_INVALID_ARGUMENT);
        assert_error_says("must be 0..3");
        assert_int_equal(size, 0);
    }
    assert_status(mglu_workspace_size(made.rig.device, weights, &layer, 1, NULL), MGLU_ERROR_INVALID_ARGUMENT);
    assert_status(mglu_workspace_size(NULL, weights, &layer, 1, &size), MGLU_ERROR_INVALID_ARGUMENT);
    assert_status(mglu_workspace_size(made.rig.device, NULL, &layer, 1, &size), MGLU_ERROR_INVALID_ARGUMENT);
    assert_status(mglu_workspace_size(made.rig.device, weights, &invalid, 1, &size), MGLU_ERROR_INVALID_ARGUMENT);
    destroy(&made);
}

static void a_forward_needs_only_the_workspace_of_its_batch(void **state)
{
    struct made made = make("cpu", NULL, 0);
    mglu_forward_args args = args_of(&made);

    args.batch = 1;
    args.workspace_size = mglu_layer_workspace_size_for(made.rig.layer, 1);
    assert_true(args.workspace_size > 0 && args.workspace_size < mglu_layer_workspace_size(made.rig.layer));
    assert_ok(mglu_forward(made.rig.layer, NULL, &args));
    args.workspace_size--;
    assert_status(mglu_forward(made.rig.layer, NULL, &args), MGLU_ERROR_INVALID_ARGUMENT);
    assert_error_says("a batch of 1 needs");
    destroy(&made);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_threads_of_a_call_are_used_in_it_and_in_no_other),
        cmocka_unit_test(threads_without_a_function_or_a_number_of_them_are_refused),
        cmocka_unit_test(args_of_the_first_version_have_no_threads),
        cmocka_unit_test(without_a_queue_the_work_is_done_at_once),
        cmocka_unit_test(the_workspace_is_known_for_each_batch_and_before_there_are_weights),
        cmocka_unit_test(a_workspace_for_a_batch_that_the_layer_refuses_has_no_size),
        cmocka_unit_test(a_forward_needs_only_the_workspace_of_its_batch),
        cmocka_unit_test(a_queue_whose_work_is_done_notifies_at_once),
        cmocka_unit_test(without_a_queue_a_bad_routing_id_is_an_error_of_the_call),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
