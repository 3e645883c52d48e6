/* SPDX-License-Identifier: MIT */
#include "backends/cpu/cpu.h"
#include "tests/unit/check.h"

#include <signal.h>
#include <string.h>
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

static void tiles_are_used_by_permission_alone(void **state)
{
    if (!mglu_cpu_has_tiles())
        skip();
    assert_true(in_a_child(looking_asks_for_nothing));
    assert_true(in_a_child(refused_once_is_refused_for_good));
    assert_true(in_a_child(permitted_holds_in_children));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tiles_are_used_by_permission_alone),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
