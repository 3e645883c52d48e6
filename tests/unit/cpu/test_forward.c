/* SPDX-License-Identifier: MIT */
#include "tests/unit/cpu/isas.h"
#include "tests/unit/sample.h"

#include <fenv.h>
#include <math.h>
#include <pthread.h>

/* What the CPU backend guarantees besides the results, on every instruction set. */

enum { CANARY = 0xa5, CANARIES = 256, BATCH = 35 };

/* Large enough for several tasks. */
static const struct sample_shape shape = {MGLU_KIND_MASKED,       MGLU_DTYPE_F16, TEST_IS_SLOW ? 300 : 1000, 173, 45, 5,
                                          WITH_DOWN | WITH_ROUTER};
static const mglu_layer_desc routed = {
    .struct_size = sizeof routed, .x_dtype = MGLU_DTYPE_F16, .top_k = 3, .max_batch = BATCH};

static struct rig open_isa(const struct mglu_cpu_isa *isa, const struct sample *sample, const mglu_layer_desc *layer,
                           const mglu_parallel *parallel)
{
    const mglu_context_desc context = {.struct_size = sizeof context, .max_isa = isa->name, .parallel = parallel};

    return rig_make("cpu", &context, &sample->desc, layer);
}

/* y of a whole batch; freed by the caller. */
static float *forward(struct rig *rig, const void *x)
{
    float *y = calloc(BATCH * (size_t)shape.out, sizeof *y);

    assert_ok(rig_forward(rig, (mglu_forward_args){.batch = BATCH, .x = {.data = x}, .y = {.data = y}}));
    return y;
}

static void *make_x(void)
{
    uint32_t seed = 5;

    return sample_array(MGLU_DTYPE_F16, BATCH * (size_t)shape.h, 1, &seed);
}

static void the_callers_rounding_mode_is_neither_used_nor_changed(void **state)
{
    const struct mglu_cpu_isa *isa = isa_of(state);
    static const int modes[] = {FE_UPWARD, FE_DOWNWARD, FE_TOWARDZERO};
    struct sample sample = sample_make(&shape, 1);
    struct rig rig = open_isa(isa, &sample, &routed, NULL);
    void *x = make_x();
    float *want = forward(&rig, x);

    for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++) {
        fesetround(modes[i]);
        float *got = forward(&rig, x);
        int after = fegetround();
        fesetround(FE_TONEAREST);
        assert_int_equal(after, modes[i]);
        assert_memory_equal(got, want, BATCH * (size_t)shape.out * sizeof *want);
        free(got);
    }
    free(want), free(x);
    rig_free(&rig);
    sample_free(&sample);
}

#ifdef __x86_64__
#include <xmmintrin.h>

/* One weight that is a subnormal f32; with flush-to-zero, products with it are 0; with unmasked exceptions it would
 * trap. */
static void the_callers_flush_to_zero_and_traps_are_neither_used_nor_changed(void **state)
{
    const struct mglu_cpu_isa *isa = isa_of(state);
    enum { FLUSH = 0x8040, UNMASKED = 0x0000 };
    const struct sample_shape tiny = {MGLU_KIND_MASKED, MGLU_DTYPE_F32, 1, 1, 0, 1, 0};
    const mglu_layer_desc identity = {
        .struct_size = sizeof identity, .activation = MGLU_ACTIVATION_IDENTITY, .max_batch = 1};
    const float subnormal = 0x1p-140f, one = 1, huge = 0x1p127f;
    const uint8_t value_side = 0;
    struct sample sample = sample_make(&tiny, 1);
    float y = 0;

    sample.desc.weight.data = &subnormal;
    sample.desc.masks.data = &value_side;
    sample.desc.gate_bias = (mglu_array){.data = &huge, .dtype = MGLU_DTYPE_F32};
    struct rig rig = open_isa(isa, &sample, &identity, NULL);
    const unsigned int before = _mm_getcsr();
    _mm_setcsr((before & ~0x1f80u) | FLUSH | UNMASKED);
    const unsigned int set = _mm_getcsr();
    mglu_status status = rig_forward(&rig, (mglu_forward_args){.batch = 1, .x = {.data = &one}, .y = {.data = &y}});
    const unsigned int after = _mm_getcsr();
    _mm_setcsr(before);
    assert_ok(status);
    assert_int_equal(set, after);
    assert_true(y == 0x1p-13f);
    rig_free(&rig);
    sample_free(&sample);
}
#endif

/* A pool of the host that runs odd tasks in another thread, from the last to the first. */
struct share {
    int64_t count;
    mglu_task task;
    void *argument;
};

static void *run_odd(void *user)
{
    const struct share *share = user;

    for (int64_t i = share->count - 1; i >= 0; i--)
        if (i % 2)
            share->task(share->argument, i);
    return NULL;
}

static void run_hostile(void *user, int64_t count, mglu_task task, void *argument)
{
    struct share share = {count, task, argument};
    pthread_t thread;

    ++*(int *)user;
    assert_int_equal(pthread_create(&thread, NULL, run_odd, &share), 0);
    for (int64_t i = count - 1; i >= 0; i--)
        if (i % 2 == 0)
            task(argument, i);
    pthread_join(thread, NULL);
}

static void a_hosts_pool_may_run_tasks_in_any_order_on_any_thread(void **state)
{
    const struct mglu_cpu_isa *isa = isa_of(state);
    struct sample sample = sample_make(&shape, 1);
    int calls = 0;
    const mglu_parallel hostile = {.user = &calls, .parallel_for = run_hostile};
    struct rig serial = open_isa(isa, &sample, &routed, NULL);
    struct rig pooled = open_isa(isa, &sample, &routed, &hostile);
    void *x = make_x();
    float *want = forward(&serial, x), *got = forward(&pooled, x);

    assert_true(calls > 0);
    assert_memory_equal(got, want, BATCH * (size_t)shape.out * sizeof *want);
    free(want), free(got), free(x);
    rig_free(&serial);
    rig_free(&pooled);
    sample_free(&sample);
}

/* A pool with a thread for each task, all of which start at the same time. */
enum { MOST_THREADS = 128 };

struct crowd {
    struct share share;
    pthread_barrier_t start;
    int64_t index;
    pthread_mutex_t lock;
};

static void *run_one(void *user)
{
    struct crowd *crowd = user;
    int64_t index;

    pthread_mutex_lock(&crowd->lock);
    index = crowd->index++;
    pthread_mutex_unlock(&crowd->lock);
    pthread_barrier_wait(&crowd->start);
    crowd->share.task(crowd->share.argument, index);
    return NULL;
}

static void run_crowd(void *user, int64_t count, mglu_task task, void *argument)
{
    struct crowd crowd = {.share = {count, task, argument}, .lock = PTHREAD_MUTEX_INITIALIZER};
    pthread_t threads[MOST_THREADS];
    int64_t *most = user;

    assert_true(count <= MOST_THREADS);
    *most = count > *most ? count : *most;
    pthread_barrier_init(&crowd.start, NULL, (unsigned)count);
    for (int64_t i = 0; i < count; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, run_one, &crowd), 0);
    for (int64_t i = 0; i < count; i++)
        pthread_join(threads[i], NULL);
    pthread_barrier_destroy(&crowd.start);
}

static void more_tasks_at_once_than_buffers_for_sums_wait_for_each_other(void **state)
{
    const struct mglu_cpu_isa *isa = isa_of(state);
    const struct sample_shape wide = {MGLU_KIND_MASKED, MGLU_DTYPE_F16, 64, 32 * 80, 0, 2, 0};
    const mglu_layer_desc desc = {.struct_size = sizeof desc, .x_dtype = MGLU_DTYPE_F16, .max_batch = 24};
    struct sample sample = sample_make(&wide, 1);
    int64_t most = 0;
    const mglu_parallel crowd = {.user = &most, .parallel_for = run_crowd, .num_threads = MOST_THREADS};
    struct rig serial = open_isa(isa, &sample, &desc, NULL), pooled = open_isa(isa, &sample, &desc, &crowd);
    const size_t size = (size_t)(desc.max_batch * wide.d) * sizeof(float);
    float *want = malloc(size), *got = malloc(size);
    uint32_t seed = 5;
    void *x = sample_array(MGLU_DTYPE_F16, (size_t)(desc.max_batch * wide.h), 1, &seed);

    assert_ok(rig_forward(&serial, (mglu_forward_args){.batch = desc.max_batch, .x.data = x, .y.data = want}));
    assert_ok(rig_forward(&pooled, (mglu_forward_args){.batch = desc.max_batch, .x.data = x, .y.data = got}));
    assert_true(most > MGLU_CPU_MOST_SUM_BUFFERS);
    assert_memory_equal(got, want, size);
    free(want), free(got), free(x);
    rig_free(&serial);
    rig_free(&pooled);
    sample_free(&sample);
}

static void the_workspace_is_not_overrun(void **state)
{
    const struct mglu_cpu_isa *isa = isa_of(state);
    static const struct sample_shape shapes[] = {
        {MGLU_KIND_MASKED, MGLU_DTYPE_BF16, 33, 17, 5, 16, WITH_DOWN | WITH_ROUTER},
        {MGLU_KIND_MASKED, MGLU_DTYPE_BF16, 31, 17, 0, 1, 0},
        {MGLU_KIND_PLAIN, MGLU_DTYPE_F16, 64, 1, 3, 0, WITH_DOWN},
        {MGLU_KIND_MASKED, MGLU_DTYPE_F32, 0, 9, 0, 2, WITH_BIASES},
    };

    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++)
        for (int64_t batch = 1; batch <= BATCH; batch += 2) {
            const mglu_layer_desc desc = {.struct_size = sizeof desc,
                                          .x_dtype = MGLU_DTYPE_BF16,
                                          .top_k = shapes[i].parts & WITH_ROUTER ? 16 : 0,
                                          .max_batch = batch};
            struct sample sample = sample_make(&shapes[i], 3);
            struct rig rig = open_isa(isa, &sample, &desc, NULL);
            size_t size = mglu_layer_workspace_size(rig.layer);
            unsigned char *workspace = aligned_alloc(64, size + CANARIES);
            void *x = calloc((size_t)(batch * shapes[i].h) + 1, 2);
            float *y = calloc((size_t)batch * 17, sizeof *y);
            memset(workspace, CANARY, size + CANARIES);
            mglu_forward_args args = {.struct_size = sizeof args,
                                      .batch = batch,
                                      .x = {.data = x},
                                      .y = {.data = y},
                                      .workspace = workspace,
                                      .workspace_size = size};
            assert_ok(mglu_forward(rig.layer, rig.queue, &args));
            for (size_t k = 0; k < CANARIES; k++)
                assert_int_equal(workspace[size + k], CANARY);
            free(workspace), free(x), free(y);
            rig_free(&rig);
            sample_free(&sample);
        }
}

static void y_may_be_its_own_residual(void **state)
{
    const struct mglu_cpu_isa *isa = isa_of(state);
    struct sample sample = sample_make(&shape, 1);
    struct rig rig = open_isa(isa, &sample, &routed, NULL);
    void *x = make_x();
    float *want = forward(&rig, x), *y = calloc(BATCH * (size_t)shape.out, sizeof *y);

    for (int64_t i = 0; i < BATCH * shape.out; i++)
        y[i] = (float)i;
    assert_ok(rig_forward(
        &rig, (mglu_forward_args){.batch = BATCH, .x = {.data = x}, .y = {.data = y}, .residual = {.data = y}}));
    for (int64_t i = 0; i < BATCH * shape.out; i++)
        assert_true(y[i] == want[i] + (float)i);
    free(want), free(x), free(y);
    rig_free(&rig);
    sample_free(&sample);
}

/* Runs with a bad id in token 1 and compares the other tokens with a good run. */
static void check_bad_id(const struct mglu_cpu_isa *isa, int32_t bad_id, int parts)
{
    const struct sample_shape some = {MGLU_KIND_MASKED, MGLU_DTYPE_F32, 40, 20, 20, 3, parts};
    const mglu_layer_desc desc = {.struct_size = sizeof desc, .top_k = 2, .max_batch = 3};
    struct sample sample = sample_make(&some, 1);
    struct rig rig = open_isa(isa, &sample, &desc, NULL);
    uint32_t seed = 1;
    float *x = sample_array(MGLU_DTYPE_F32, 3 * 40, 1, &seed), good[60], y[60];
    int32_t ids[] = {0, 1, 2, 0, 1, 1};
    const float p[] = {0.5f, 0.5f, 1, 0, 0.25f, 0.25f};
    const mglu_forward_args args = {.batch = 3,
                                    .x = {.data = x},
                                    .y = {.data = good},
                                    .routing_ids = {.data = ids},
                                    .routing_weights = {.data = p}};
    mglu_forward_args bad = args;

    assert_ok(rig_forward(&rig, args));
    assert_ok(mglu_queue_wait(rig.queue));
    ids[3] = bad_id;
    bad.y.data = y;
    assert_ok(rig_forward(&rig, bad));
    assert_status(mglu_queue_wait(rig.queue), MGLU_ERROR_BAD_ROUTING);
    assert_error_says("routing");
    assert_ok(mglu_queue_wait(rig.queue));
    assert_memory_equal(y, good, 20 * sizeof *y);
    assert_memory_equal(y + 40, good + 40, 20 * sizeof *y);
    for (int i = 20; i < 40; i++)
        assert_true(isnan(y[i]));
    free(x);
    rig_free(&rig);
    sample_free(&sample);
}

static void a_routing_id_out_of_range_spoils_its_token_only(void **state)
{
    const struct mglu_cpu_isa *isa = isa_of(state);
    static const int32_t bad_ids[] = {3, -1, INT32_MAX, INT32_MIN};

    for (size_t i = 0; i < sizeof bad_ids / sizeof bad_ids[0]; i++) {
        check_bad_id(isa, bad_ids[i], 0);
        check_bad_id(isa, bad_ids[i], WITH_DOWN);
    }
}

/* Token 1 has an x that overflows every logit. */
static void a_logit_that_is_nan_spoils_its_token_only(void **state)
{
    const struct mglu_cpu_isa *isa = isa_of(state);
    struct sample sample = sample_make(&shape, 1);
    struct rig rig = open_isa(isa, &sample, &routed, NULL);
    uint16_t *x = make_x();
    float *good = forward(&rig, x);
    x[shape.h + 7] = 0x7e00; /* NaN */
    float *y = forward(&rig, x);

    for (int64_t i = 0; i < BATCH * shape.out; i++)
        assert_true(i / shape.out == 1 ? isnan(y[i]) : same_bits(y[i], good[i]));
    free(x), free(good), free(y);
    rig_free(&rig);
    sample_free(&sample);
}

static int is_listed(const char *const *names, const char *name)
{
    while (*names && strcmp(*names, name) != 0)
        names++;
    return *names != NULL;
}

static void the_device_reports_its_instruction_set(void **state)
{
    const struct mglu_cpu_isa *isa = isa_of(state);
    struct sample sample = sample_make(&shape, 1);
    struct rig rig = open_isa(isa, &sample, &routed, NULL);
    mglu_device_info info = {.struct_size = sizeof info};
    char wanted[64];

    snprintf(wanted, sizeof wanted, "isa=%s threads=1", isa->name);
    assert_ok(mglu_device_get_info(rig.device, &info));
    assert_string_equal(info.details, wanted);
    assert_true(is_listed(info.instruction_sets, isa->name));
    assert_true(info.name[0] != '\0' && info.name[0] != ' ' && !strchr(info.name, '\n'));
    assert_true(info.memory_bytes > 0);
    rig_free(&rig);
    sample_free(&sample);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_callers_rounding_mode_is_neither_used_nor_changed),
#ifdef __x86_64__
        cmocka_unit_test(the_callers_flush_to_zero_and_traps_are_neither_used_nor_changed),
#endif
        cmocka_unit_test(a_hosts_pool_may_run_tasks_in_any_order_on_any_thread),
        cmocka_unit_test(more_tasks_at_once_than_buffers_for_sums_wait_for_each_other),
        cmocka_unit_test(the_workspace_is_not_overrun),
        cmocka_unit_test(y_may_be_its_own_residual),
        cmocka_unit_test(a_routing_id_out_of_range_spoils_its_token_only),
        cmocka_unit_test(a_logit_that_is_nan_spoils_its_token_only),
        cmocka_unit_test(the_device_reports_its_instruction_set),
    };

    return run_on_isas(tests, sizeof tests / sizeof tests[0]);
}
