/* SPDX-License-Identifier: MIT */
#include "sample.h"

#include <mglu/pack.h>

#include <fenv.h>
#include <pthread.h>
#if defined(__SSE__)
#include <xmmintrin.h>
#endif

/*
 * The floating-point environment of the caller, and of the host's threads, has no effect on what the library computes,
 * and no call changes it. special_environment.c of the conformance suite checks forward on every backend.
 */

/* All control and flag bits. */
static unsigned long environment(void)
{
#if defined(__SSE__)
    return _mm_getcsr();
#elif defined(__aarch64__)
    unsigned long control, flags;

    __asm__ volatile("mrs %0, fpcr\n\tmrs %1, fpsr" : "=r"(control), "=r"(flags));
    return control << 32 | flags;
#else
    return (unsigned long)fegetround() << 8 | (unsigned long)fetestexcept(FE_ALL_EXCEPT);
#endif
}

static void flush_subnormals(void)
{
#if defined(__SSE__)
    _mm_setcsr(_mm_getcsr() | 0x8040);
#elif defined(__aarch64__)
    __asm__ volatile("msr fpcr, %0" ::"r"(1ul << 24));
#endif
}

static void unmask_exceptions(void)
{
    feclearexcept(FE_ALL_EXCEPT);
    feenableexcept(FE_ALL_EXCEPT);
#if defined(__SSE__)
    _mm_setcsr(_mm_getcsr() & ~0x1f80u); /* that of subnormal operands too, which has no name in C */
#endif
}

static void round_up(void)
{
    fesetround(FE_UPWARD);
}

static void round_down(void)
{
    fesetround(FE_DOWNWARD);
}

static void (*const changes[])(void) = {flush_subnormals, unmask_exceptions, round_up, round_down};

enum { NUMBERS = 64 };

/* Numbers that raise exceptions where an instruction touches them: subnormals, tiny, ordinary, large ones. */
static void fill_numbers(float numbers[NUMBERS])
{
    static const uint32_t special[] = {1, 0x116c2, 0x80000001, 0x00400000, 0x33800000, 0x387fe000, 0x47000001};

    for (uint32_t i = 0; i < NUMBERS; i++)
        numbers[i] = (float)((int)i - 20) / 7;
    memcpy(numbers, special, sizeof special);
}

/* Results of all calls that convert and pack. */
struct packed {
    uint16_t f16[NUMBERS], bf16[NUMBERS], q8_scales[2], q4_scales[2];
    float back[NUMBERS];
    unsigned char q8[NUMBERS], q4[NUMBERS];
    uint32_t words[3][NUMBERS / 32];
    mglu_status status[9];
};

static void pack_all(const float *numbers, struct packed *out)
{
    const mglu_array array = {.data = numbers};
    const mglu_mask_array f32 = {numbers, MGLU_MASK_LOGITS_F32}, f16 = {out->f16, MGLU_MASK_LOGITS_F16},
                          bf16 = {out->bf16, MGLU_MASK_LOGITS_BF16};

    out->status[0] = mglu_convert(numbers, MGLU_DTYPE_F32, out->f16, MGLU_DTYPE_F16, NUMBERS);
    out->status[1] = mglu_convert(numbers, MGLU_DTYPE_F32, out->bf16, MGLU_DTYPE_BF16, NUMBERS);
    out->status[2] = mglu_convert(out->f16, MGLU_DTYPE_F16, out->back, MGLU_DTYPE_F32, NUMBERS);
    out->status[3] = mglu_pack_weights(&array, 1, NUMBERS, MGLU_DTYPE_Q8_0, 0, out->q8, out->q8_scales);
    out->status[4] = mglu_pack_weights(&array, 1, NUMBERS, MGLU_DTYPE_Q4_0, 0, out->q4, out->q4_scales);
    out->status[5] = mglu_pack_masks(&f32, 1, 1, NUMBERS, out->words[0]);
    out->status[6] = mglu_pack_masks(&f16, 1, 1, NUMBERS, out->words[1]);
    out->status[7] = mglu_pack_masks(&bf16, 1, 1, NUMBERS, out->words[2]);
    out->status[8] =
        mglu_unpack_weights(out->q8, out->q8_scales, MGLU_DTYPE_Q8_0, 1, NUMBERS, MGLU_DTYPE_F32, out->back);
}

static void packing_is_the_same_in_every_environment_and_leaves_it(void **state)
{
    float numbers[NUMBERS];
    struct packed usual, changed;
    unsigned long before, after;
    fenv_t callers;

    fill_numbers(numbers);
    memset(&usual, 0, sizeof usual);
    pack_all(numbers, &usual);
    assert_int_equal(usual.words[0][0] & 0xf, 0xb); /* the subnormal logits: positive but for the third */
    for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++) {
        memset(&changed, 0, sizeof changed);
        fegetenv(&callers);
        changes[i]();
        before = environment();
        pack_all(numbers, &changed);
        after = environment();
        fesetenv(&callers);
        assert_int_equal(before, after);
        assert_memory_equal(&usual, &changed, sizeof usual);
    }
}

static void a_nan_logit_and_signalling_nans_are_found_without_a_signal(void **state)
{
    const uint32_t signalling = 0x7f800001;
    const mglu_mask_array logits = {&signalling, MGLU_MASK_LOGITS_F32};
    uint32_t word;
    mglu_status status;
    size_t bad;
    fenv_t callers;

    fegetenv(&callers);
    unmask_exceptions();
    status = mglu_pack_masks(&logits, 1, 1, 1, &word);
    bad = mglu_first_nonfinite(&signalling, MGLU_DTYPE_F32, 1);
    fesetenv(&callers);
    assert_int_equal(status, MGLU_ERROR_INVALID_ARGUMENT);
    assert_int_equal(bad, 0);
}

/* A pool whose threads have an environment of their own. */
struct pool {
    void (*change)(void);
    int changed; /* tasks that left it changed */
};

struct share {
    struct pool *pool;
    int64_t count;
    mglu_task task;
    void *argument;
};

static void *run_changed(void *user)
{
    const struct share *share = user;
    unsigned long before;

    share->pool->change();
    before = environment();
    for (int64_t i = 0; i < share->count; i++) {
        share->task(share->argument, i);
        share->pool->changed += environment() != before;
    }
    return NULL;
}

static void run_in_another_thread(void *user, int64_t count, mglu_task task, void *argument)
{
    struct share share = {user, count, task, argument};
    pthread_t thread;

    assert_int_equal(pthread_create(&thread, NULL, run_changed, &share), 0);
    pthread_join(thread, NULL);
}

/* Makes a layer with every part and computes y, with the calling thread in an environment and the pool in another. */
static void layer_in(const char *backend, void (*change)(void), struct pool *pool, float *y)
{
    const struct sample_shape shape = {
        MGLU_KIND_MASKED, MGLU_DTYPE_Q8_0, 64, 512, 32, 4, WITH_BIASES | WITH_ROUTER | WITH_DOWN};
    const mglu_parallel parallel = {.user = pool, .parallel_for = run_in_another_thread};
    const mglu_context_desc context = {.struct_size = sizeof context, .parallel = &parallel};
    const mglu_layer_desc layer = {.struct_size = sizeof layer, .silu_beta = 1e-40f, .top_k = 2, .max_batch = 8};
    struct sample sample = sample_make(&shape, 3);
    uint32_t seed = 5;
    float *x = sample_array(MGLU_DTYPE_F32, 8 * 64, 1, &seed);
    unsigned long before, after;
    struct rig rig;
    fenv_t callers;
    mglu_status status;

    x[1] = 1e-40f;
    fegetenv(&callers);
    if (change)
        change();
    before = environment();
    rig = rig_make(backend, &context, &sample.desc, &layer);
    status = rig_forward(&rig, (mglu_forward_args){.batch = 8, .x.data = x, .y.data = y});
    after = environment();
    fesetenv(&callers);
    assert_ok(status);
    assert_int_equal(before, after);
    rig_free(&rig);
    sample_free(&sample);
    free(x);
}

static void leave_as_it_is(void)
{
}

static void layers_are_the_same_in_every_environment_of_the_caller_and_of_the_hosts_threads(void **state)
{
    static const char *const backends[] = {"cpu", "ref"};
    float usual[8 * 32], changed[8 * 32];

    for (size_t b = 0; b < sizeof backends / sizeof backends[0]; b++) {
        struct pool pool = {leave_as_it_is, 0};
        layer_in(backends[b], NULL, &pool, usual);
        for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++) {
            pool = (struct pool){changes[i], 0};
            memset(changed, 0xff, sizeof changed);
            layer_in(backends[b], changes[i], &pool, changed);
            assert_int_equal(pool.changed, 0);
            assert_memory_equal(usual, changed, sizeof usual);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(packing_is_the_same_in_every_environment_and_leaves_it),
        cmocka_unit_test(a_nan_logit_and_signalling_nans_are_found_without_a_signal),
        cmocka_unit_test(layers_are_the_same_in_every_environment_of_the_caller_and_of_the_hosts_threads),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
