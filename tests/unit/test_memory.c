/* SPDX-License-Identifier: MIT */
#include "sample.h"

#include <stdatomic.h>

/* The allocator hook: every allocation uses it, is released through it, and may fail. */

struct counting {
    atomic_long calls;
    atomic_long live_bytes;
    long fail_at; /* number of the call that fails; 0: none */
};

static void *count_allocate(void *user, size_t size, size_t alignment)
{
    struct counting *counting = user;
    void *memory = NULL;

    assert_true(size > 0);
    if (atomic_fetch_add(&counting->calls, 1) + 1 == counting->fail_at)
        return NULL;
    if (posix_memalign(&memory, alignment < sizeof(void *) ? sizeof(void *) : alignment, size) != 0)
        return NULL;
    atomic_fetch_add(&counting->live_bytes, (long)size);
    return memory;
}

static void count_release(void *user, void *memory, size_t size, size_t alignment)
{
    struct counting *counting = user;

    assert_non_null(memory);
    assert_int_equal((uintptr_t)memory % alignment, 0);
    atomic_fetch_sub(&counting->live_bytes, (long)size);
    free(memory);
}

static const struct sample_shape shape = {.kind = MGLU_KIND_MASKED,
                                          .dtype = MGLU_DTYPE_F16,
                                          .h = 33,
                                          .d = 17,
                                          .out = 5,
                                          .n_masks = 2,
                                          .parts = WITH_BIASES | WITH_ROUTER | WITH_DOWN};

/* A host's whole use of the library. Returns the first status that is not MGLU_OK. */
static mglu_status use_everything(struct counting *counting, const struct sample *sample, const char *backend)
{
    mglu_allocator allocator = {counting, count_allocate, count_release};
    mglu_context_desc desc = {.struct_size = sizeof desc, .allocator = &allocator};
    mglu_layer_desc layer = {.struct_size = sizeof layer, .max_batch = 1};
    mglu_forward_args args = {.struct_size = sizeof args, .batch = 1};
    float x[33] = {1}, y[5];
    struct rig rig = {0};
    mglu_status status = mglu_context_create(&desc, &rig.context);

    if (status == MGLU_OK)
        status = mglu_device_pick(rig.context, backend, &rig.device);
    if (status == MGLU_OK)
        status = mglu_queue_create(rig.device, NULL, &rig.queue);
    if (status == MGLU_OK)
        status = mglu_weights_create(rig.device, &sample->desc, &rig.weights);
    if (status == MGLU_OK)
        status = mglu_layer_create(rig.weights, &layer, &rig.layer);
    if (status == MGLU_OK)
        status = mglu_memory_create(rig.device, mglu_layer_workspace_size(rig.layer), &rig.workspace);
    if (status == MGLU_OK) {
        long calls = counting->calls;
        args.x.data = x;
        args.y.data = y;
        args.workspace = mglu_memory_data(rig.workspace);
        args.workspace_size = mglu_memory_size(rig.workspace);
        status = mglu_forward(rig.layer, rig.queue, &args);
        assert_int_equal(counting->calls, calls); /* forward allocates nothing */
    }
    rig_free(&rig);
    return status;
}

static void check_every_failure(const char *backend)
{
    struct sample sample = sample_make(&shape, 5);
    struct counting counting = {0};
    long calls;

    assert_ok(use_everything(&counting, &sample, backend));
    assert_int_equal(counting.live_bytes, 0);
    calls = counting.calls;
    assert_true(calls > 5);
    for (long k = 1; k <= calls; k++) {
        counting = (struct counting){.fail_at = k};
        assert_status(use_everything(&counting, &sample, backend), MGLU_ERROR_OUT_OF_MEMORY);
        assert_int_equal(counting.live_bytes, 0);
    }
    sample_free(&sample);
}

static void any_failing_allocation_is_out_of_memory_and_leaks_nothing(void **state)
{
    check_every_failure("cpu");
    check_every_failure("ref");
}

static void weights_hold_little_more_than_their_packed_bytes(void **state)
{
    const struct sample_shape large = {MGLU_KIND_MASKED, MGLU_DTYPE_F16, 512, 1024, 0, 4, 0};
    struct sample sample = sample_make(&large, 7);
    mglu_layer_desc layer = {.struct_size = sizeof layer, .max_batch = 1};
    struct rig rig = rig_make("cpu", NULL, &sample.desc, &layer);
    mglu_weights_info info = {.struct_size = sizeof info};

    assert_ok(mglu_weights_get_info(rig.weights, &info));
    assert_int_equal(info.projection_bytes, 512 * 1024 * (16 + 4) / 8);
    assert_true((double)info.device_bytes <= 1.01 * (double)info.projection_bytes);
    rig_free(&rig);
    sample_free(&sample);
}

static void memory_can_be_written_and_read_within_its_size(void **state)
{
    struct sample sample = sample_make(&shape, 11);
    mglu_layer_desc layer = {.struct_size = sizeof layer, .max_batch = 1};
    struct rig rig = rig_make("cpu", NULL, &sample.desc, &layer);
    const char text[] = "0123456789";
    char back[4];
    mglu_memory *memory;

    assert_ok(mglu_memory_create(rig.device, sizeof text, &memory));
    assert_int_equal((uintptr_t)mglu_memory_data(memory) % 64, 0);
    assert_ok(mglu_memory_write(memory, rig.queue, 0, text, sizeof text));
    assert_ok(mglu_memory_read(memory, rig.queue, 3, back, 4));
    assert_memory_equal(back, "3456", 4);
    assert_status(mglu_memory_read(memory, rig.queue, 8, back, 4), MGLU_ERROR_INVALID_ARGUMENT);
    assert_status(mglu_memory_write(memory, rig.queue, SIZE_MAX, text, 2), MGLU_ERROR_INVALID_ARGUMENT);
    assert_error_says("the memory has 11 bytes");
    mglu_memory_destroy(&memory);
    assert_ok(mglu_memory_create(rig.device, 0, &memory));
    assert_null(mglu_memory_data(memory));
    mglu_memory_destroy(&memory);
    rig_free(&rig);
    sample_free(&sample);
}

static void copies_on_a_queue_of_another_device_are_refused(void **state)
{
    char text[] = "01";
    mglu_context *context;
    mglu_device *cpu, *ref;
    mglu_queue *queue;
    mglu_memory *memory;

    assert_ok(mglu_context_create(NULL, &context));
    assert_ok(mglu_device_pick(context, "cpu", &cpu));
    assert_ok(mglu_device_pick(context, "ref", &ref));
    assert_ok(mglu_memory_create(cpu, sizeof text, &memory));
    assert_ok(mglu_queue_create(ref, NULL, &queue));
    assert_status(mglu_memory_write(memory, queue, 0, text, sizeof text), MGLU_ERROR_INVALID_ARGUMENT);
    assert_error_says("another device");
    assert_status(mglu_memory_read(memory, queue, 0, text, sizeof text), MGLU_ERROR_INVALID_ARGUMENT);
    mglu_queue_destroy(&queue);
    mglu_memory_destroy(&memory);
    mglu_context_destroy(&context);
}

static void weights_outlive_their_handle_while_a_layer_uses_them(void **state)
{
    struct sample sample = sample_make(&shape, 9);
    mglu_layer_desc layer = {.struct_size = sizeof layer, .max_batch = 1};
    struct rig rig = rig_make("cpu", NULL, &sample.desc, &layer);
    float x[33] = {1}, before[5], after[5];

    assert_ok(rig_forward(&rig, (mglu_forward_args){.batch = 1, .x = {.data = x}, .y = {.data = before}}));
    mglu_weights_destroy(&rig.weights);
    mglu_context_destroy(&rig.context);
    sample_free(&sample);
    assert_ok(rig_forward(&rig, (mglu_forward_args){.batch = 1, .x = {.data = x}, .y = {.data = after}}));
    assert_memory_equal(before, after, sizeof before);
    rig_free(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_failing_allocation_is_out_of_memory_and_leaks_nothing),
        cmocka_unit_test(weights_hold_little_more_than_their_packed_bytes),
        cmocka_unit_test(memory_can_be_written_and_read_within_its_size),
        cmocka_unit_test(copies_on_a_queue_of_another_device_are_refused),
        cmocka_unit_test(weights_outlive_their_handle_while_a_layer_uses_them),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
