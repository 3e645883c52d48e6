/* SPDX-License-Identifier: MIT */
#include "machine.h"

#include <dlfcn.h>
#include <errno.h>
#include <grp.h>
#include <pthread.h>
#include <sys/resource.h>
#include <unistd.h>

/* Threads that can't be made: OpenMP's runtime would end the process. pthread_create() is replaced for the process. */

enum { UNLIMITED = 1 << 20 };

static atomic_int thread_budget = UNLIMITED; /* threads that can still be made */
static atomic_size_t stack_size;             /* of the last one, where its maker set it */

int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*start)(void *), void *argument)
{
    int (*create)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
    void *address = dlsym(RTLD_NEXT, "pthread_create");
    size_t size = 0;

    memcpy(&create, &address, sizeof create);
    if (attributes && pthread_attr_getstacksize(attributes, &size) == 0)
        atomic_store(&stack_size, size);
    return atomic_fetch_sub(&thread_budget, 1) > 0 ? create(thread, attributes, start, argument) : EAGAIN;
}

/* Computes twice; the result is that of one thread. */
static int computes(struct machine *machine)
{
    struct machine serial;
    float y[D];
    int same = 1;

    make_machine(&serial, 1, NULL);
    assert_ok(forward(&serial.rig, serial.x, serial.y));
    for (int i = 0; i < 2; i++)
        same &= forward(&machine->rig, machine->x, y) == MGLU_OK && memcmp(y, serial.y, sizeof y) == 0;
    free_machine(&serial);
    return same;
}

static void assert_details(const struct machine *machine, const char *words)
{
    mglu_device_info info = {.struct_size = sizeof info};

    assert_ok(mglu_device_get_info(machine->rig.device, &info));
    assert_non_null(strstr(info.details, words));
}

/* Runs a case on a thread of its own, which has no team of OpenMP's yet. */
static void *run_case(void *argument)
{
    void (*run)(void);

    memcpy(&run, argument, sizeof run);
    run();
    return NULL;
}

static void on_a_new_thread(void (*run)(void))
{
    pthread_t thread;

    atomic_store(&thread_budget, UNLIMITED);
    assert_int_equal(pthread_create(&thread, NULL, run_case, &run), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    atomic_store(&thread_budget, UNLIMITED);
}

static void create_context_with(int budget, const char *details, const char *warning)
{
    struct machine machine;

    atomic_store(&thread_budget, budget);
    make_machine(&machine, 4, NULL);
    assert_details(&machine, details);
    assert_int_equal(atomic_load(&machine.log.count), 1);
    assert_non_null(strstr(machine.log.text, warning));
    atomic_store(&thread_budget, 0);
    assert_true(computes(&machine));
    assert_int_equal(atomic_load(&machine.log.count), 1);
    free_machine(&machine);
}

static void create_context_without_threads(void)
{
    create_context_with(0, "threads=1", "1 of 4 threads");
}

static void create_context_with_three(void)
{
    create_context_with(2, "threads=3", "3 of 4 threads");
}

static void a_context_has_no_more_threads_than_can_be_made(void **state)
{
    on_a_new_thread(create_context_without_threads);
    on_a_new_thread(create_context_with_three);
}

static void compute_when_threads_are_gone(void)
{
    struct machine machine;

    make_machine(&machine, 4, NULL);
    assert_int_equal(atomic_load(&machine.log.count), 0);
    atomic_store(&thread_budget, 0);
    assert_true(computes(&machine));
    assert_int_equal(atomic_load(&machine.log.count), 1);
    assert_non_null(strstr(machine.log.text, "1 of 4 threads"));
    free_machine(&machine);
}

/* It has no team yet, whatever other threads could make. */
static void a_thread_whose_first_team_cannot_be_made_computes_alone(void **state)
{
    on_a_new_thread(compute_when_threads_are_gone);
}

static void create_context_with_small_stacks(void)
{
    struct machine machine;

    setenv("OMP_STACKSIZE", "768 K", 1);
    make_machine(&machine, 2, NULL);
    unsetenv("OMP_STACKSIZE");
    assert_int_equal(atomic_load(&stack_size), 768 << 10);
    free_machine(&machine);
}

static void threads_are_tried_with_the_stack_that_openmp_gives_them(void **state)
{
    on_a_new_thread(create_context_with_small_stacks);
}

/* A user who may have one more thread: the kernel counts a thread of the trial until it is really gone. */
static int compute_as_a_limited_user(struct machine *machine)
{
    enum { ANY_USER = 54321 };
    const struct rlimit two = {2, 2};

    if (setgroups(0, NULL) != 0 || setrlimit(RLIMIT_NPROC, &two) != 0 || setuid(ANY_USER) != 0)
        return 0;
    make_machine(machine, 4, NULL);
    assert_details(machine, "threads=2");
    return computes(machine) && atomic_load(&machine->log.count) == 1;
}

/* Comes first: a child of a process with threads computes on one. */
static void the_limit_of_a_user_is_met(void **state)
{
    enum { CHILDREN = 10 };
    struct machine machine;

    if (geteuid() != 0)
        skip(); /* other processes of the user count too */
    for (int i = 0; i < CHILDREN; i++)
        assert_child(compute_as_a_limited_user, &machine);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_limit_of_a_user_is_met),
        cmocka_unit_test(a_context_has_no_more_threads_than_can_be_made),
        cmocka_unit_test(a_thread_whose_first_team_cannot_be_made_computes_alone),
        cmocka_unit_test(threads_are_tried_with_the_stack_that_openmp_gives_them),
    };

    unsetenv("MGLU_BACKEND");
    unsetenv("MGLU_MAX_ISA");
    unsetenv("MGLU_NUM_THREADS");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
