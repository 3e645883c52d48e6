/* SPDX-License-Identifier: MIT */
#include "tests/unit/sample.h"

#include "backends/cpu/cpu.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

/* The permission to use tiles is one of the process: each test asks for it in a child. */

static char small_stack[8192];

/* Whether the thread gets an alternate signal stack of SIGSTKSZ bytes, as older programs make it. */
static int set_small_stack(void)
{
    const stack_t stack = {.ss_sp = small_stack, .ss_size = sizeof small_stack};

    return sigaltstack(&stack, NULL) == 0;
}

static void drop_small_stack(void)
{
    const stack_t none = {.ss_flags = SS_DISABLE};

    sigaltstack(&none, NULL);
}

static int refused_once_is_refused_for_good(void)
{
    int refused = set_small_stack() && !mglu_cpu_may_use_tiles();

    drop_small_stack();
    return refused && !mglu_cpu_may_use_tiles() && !mglu_cpu_has_tiles() && set_small_stack();
}

static int looking_asks_for_nothing(void)
{
    for (const struct mglu_cpu_isa *isa = mglu_cpu_isas; isa->name; isa++)
        isa->is_available();
    return mglu_cpu_has_tiles() && set_small_stack();
}

static int in_a_child(int (*holds)(void))
{
    int status = 0;
    const pid_t child = fork();

    assert_true(child >= 0);
    if (child == 0)
        _exit(holds() ? 0 : 1);
    assert_int_equal(waitpid(child, &status, 0), child);
    return status == 0;
}

static int permitted_holds_in_children(void)
{
    return mglu_cpu_may_use_tiles() && mglu_cpu_has_tiles() && !set_small_stack() && in_a_child(mglu_cpu_may_use_tiles);
}

enum { MOST_TOKENS = 40 };

static const struct sample_shape shape = {MGLU_KIND_MASKED, MGLU_DTYPE_BF16, 300, 70, 0, 2, 0};

/* y of a layer in bf16 of up to so many tokens. */
static void compute(const char *max_isa, int64_t tokens, float *y)
{
    const mglu_context_desc context = {.struct_size = sizeof context, .max_isa = max_isa};
    const mglu_layer_desc layer = {.struct_size = sizeof layer, .x_dtype = MGLU_DTYPE_BF16, .max_batch = tokens};
    struct sample sample = sample_make(&shape, 1);
    struct rig rig = rig_make("cpu", &context, &sample.desc, &layer);
    uint32_t seed = 5;
    void *x = sample_array(MGLU_DTYPE_BF16, (size_t)(tokens * shape.h), 1, &seed);

    assert_ok(rig_forward(&rig, (mglu_forward_args){.batch = tokens, .x = {.data = x}, .y = {.data = y}}));
    free(x);
    rig_free(&rig);
    sample_free(&sample);
}

static int a_layer_for_one_token_asks_for_nothing(void)
{
    float y[MOST_TOKENS * 70];

    compute("avx512-amx", 1, y);
    return mglu_cpu_has_tiles() && set_small_stack();
}

static int a_layer_for_a_batch_asks(void)
{
    float y[MOST_TOKENS * 70];

    compute("avx512-amx", MOST_TOKENS, y);
    return mglu_cpu_has_tiles() && !set_small_stack();
}

static int refused_a_layer_computes_without_tiles(void)
{
    float got[MOST_TOKENS * 70], want[MOST_TOKENS * 70];

    if (!set_small_stack())
        return 0;
    compute("avx512-amx", MOST_TOKENS, got);
    compute("avx512-bf16", MOST_TOKENS, want);
    return !mglu_cpu_has_tiles() && memcmp(got, want, sizeof got) == 0;
}

static void tiles_are_used_by_permission_alone(void **state)
{
    if (!mglu_cpu_has_tiles())
        skip();
    assert_true(in_a_child(looking_asks_for_nothing));
    assert_true(in_a_child(refused_once_is_refused_for_good));
    assert_true(in_a_child(permitted_holds_in_children));
    assert_true(in_a_child(a_layer_for_one_token_asks_for_nothing));
    assert_true(in_a_child(a_layer_for_a_batch_asks));
    assert_true(in_a_child(refused_a_layer_computes_without_tiles));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tiles_are_used_by_permission_alone),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
