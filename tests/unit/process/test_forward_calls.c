/* SPDX-License-Identifier: MIT */
#include "memory_functions.h"
#include "sample.h"

#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

/* What a forward asks of its process: nothing. */

static atomic_int process_queries;

pid_t getpid(void)
{
    atomic_fetch_add(&process_queries, 1);
    return (pid_t)syscall(SYS_getpid);
}

/* Large enough for threads, in one GEMV and one GEMM. */
enum { H = 512, D = 512, BATCH = 16 };

static const struct sample_shape shapes[] = {
    {.h = H, .d = D, .n_masks = 1},
    {.h = H, .d = D, .n_masks = 4, .dtype = MGLU_DTYPE_F16},
    {.kind = MGLU_KIND_PLAIN, .h = H, .d = D, .out = H, .dtype = MGLU_DTYPE_Q8_0, .parts = WITH_DOWN},
};

static void compute(struct rig *rig, int64_t batch)
{
    static float x[BATCH][H], y[BATCH][D];

    assert_ok(rig_forward(rig, (mglu_forward_args){.batch = batch, .x = {.data = x}, .y = {.data = y}}));
    assert_ok(mglu_queue_wait(rig->queue));
}

static void on_one_thread_it_allocates_nothing_and_asks_for_no_process(void **state)
{
    const mglu_context_desc context = {.struct_size = sizeof context, .num_threads = 1};
    const mglu_layer_desc layer = {
        .struct_size = sizeof layer, .max_batch = BATCH, .flags = MGLU_LAYER_ALLOW_QUANTISED_X};

    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        struct sample sample = sample_make(&shapes[i], 1);
        struct rig rig = rig_make("cpu", &context, &sample.desc, &layer);
        const long allocated = atomic_load(&allocations), queries = atomic_load(&process_queries);
        compute(&rig, 1);
        compute(&rig, BATCH);
        assert_int_equal(atomic_load(&allocations), allocated);
        assert_int_equal(atomic_load(&process_queries), queries);
        rig_free(&rig);
        sample_free(&sample);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(on_one_thread_it_allocates_nothing_and_asks_for_no_process),
    };

    unsetenv("MGLU_BACKEND");
    unsetenv("MGLU_MAX_ISA");
    unsetenv("MGLU_NUM_THREADS");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
