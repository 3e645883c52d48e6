/* SPDX-License-Identifier: MIT */
#include "machine.h"

#include <dirent.h>
#include <pthread.h>
#include <semaphore.h>
#include <sys/wait.h>
#include <unistd.h>

/* What works in a child that fork() made, and what is refused there. MGLU_TEST_PLUGIN is a backend with a driver. */

/* A server's child: weights of the parent; a layer, a queue and a workspace of its own. */
static int computes_with_the_parents_weights(struct machine *parent)
{
    struct rig *old = &parent->rig, own = *old;
    size_t count;
    float y[D];

    if (mglu_device_count(old->context, &count) != MGLU_OK || !mglu_device_at(old->context, count - 1) ||
        mglu_device_pick(old->context, "cpu", &own.device) != MGLU_OK || own.device != old->device ||
        mglu_queue_create(own.device, NULL, &own.queue) != MGLU_OK ||
        mglu_layer_create(old->weights, &machine_layer, &own.layer) != MGLU_OK ||
        mglu_memory_create(own.device, mglu_layer_workspace_size(own.layer), &own.workspace) != MGLU_OK)
        return 0;
    if (forward(&own, parent->x, y) != MGLU_OK || memcmp(y, parent->y, sizeof y) != 0)
        return 0;
    rig_free(&own);
    mglu_queue_destroy(&old->queue);
    return 1;
}

static void weights_of_the_parent_compute_in_the_child(void **state)
{
    struct machine parent;
    size_t count;

    make_machine(&parent, 1, NULL);
    assert_ok(forward(&parent.rig, parent.x, parent.y));
    assert_ok(mglu_device_count(parent.rig.context, &count));
    assert_child(computes_with_the_parents_weights, &parent);
    free_machine(&parent);
}

/* No driver is opened in a child for its parent's context. */
static int has_what_the_parent_named(struct machine *parent)
{
    mglu_context *context = parent->rig.context;
    mglu_device *device;
    size_t count;
    float y[D];

    return mglu_device_count(context, &count) == MGLU_ERROR_AFTER_FORK && !mglu_device_at(context, 0) &&
           mglu_device_pick(context, "ref", &device) == MGLU_ERROR_AFTER_FORK &&
           strstr(mglu_last_error(), "'ref' was not opened before fork()") &&
           mglu_device_pick(context, "host", &device) == MGLU_OK && device == parent->rig.device &&
           mglu_device_pick(context, "cpu", &device) == MGLU_OK && device == parent->rig.device &&
           forward(&parent->rig, parent->x, y) == MGLU_OK && memcmp(y, parent->y, sizeof y) == 0;
}

static void a_child_has_the_backends_that_its_parent_opened(void **state)
{
    struct machine parent;

    make_machine(&parent, 1, NULL);
    assert_ok(forward(&parent.rig, parent.x, parent.y));
    assert_child(has_what_the_parent_named, &parent);
    free_machine(&parent);
}

static int computes_on_one_thread(struct machine *parent)
{
    float y[D];

    for (int i = 0; i < 2; i++)
        if (forward(&parent->rig, parent->x, y) != MGLU_OK || memcmp(y, parent->y, sizeof y) != 0)
            return 0;
    return parent->log.count == 1 && strstr(parent->log.text, "fork") && strstr(parent->log.text, "one thread");
}

static int computes_in_a_new_context(struct machine *parent)
{
    const mglu_logger logger = {&parent->log, keep_warning, MGLU_LOG_WARN};
    const mglu_context_desc context = {.struct_size = sizeof context, .num_threads = 2, .logger = &logger};
    struct rig rig = rig_make("cpu", &context, &parent->sample.desc, &machine_layer);
    float y[D];

    return forward(&rig, parent->x, y) == MGLU_OK && memcmp(y, parent->y, sizeof y) == 0 && parent->log.count == 1;
}

static int has_a_child_that_does_so_too(struct machine *parent)
{
    assert_child(computes_in_a_new_context, parent);
    return 1;
}

static void openmps_threads_of_the_parent_are_not_waited_for(void **state)
{
    static const child_fn children[] = {computes_on_one_thread, computes_in_a_new_context,
                                        has_a_child_that_does_so_too};
    struct machine parent;

    if (!strstr(mglu_build_info(), "openmp=yes"))
        skip();
    make_machine(&parent, 2, NULL);
    assert_ok(forward(&parent.rig, parent.x, parent.y));
    assert_int_equal(parent.log.count, 0);
    for (size_t i = 0; i < sizeof children / sizeof children[0]; i++)
        assert_child(children[i], &parent);
    free_machine(&parent);
}

static int loops_of_hook;

static void run_backwards(void *user, int64_t count, mglu_task task, void *argument)
{
    loops_of_hook++;
    while (count-- > 0)
        task(argument, count);
}

static int calls_the_hook(struct machine *parent)
{
    float y[D];

    loops_of_hook = 0;
    return forward(&parent->rig, parent->x, y) == MGLU_OK && memcmp(y, parent->y, sizeof y) == 0 && loops_of_hook > 0 &&
           parent->log.count == 0;
}

static void a_hosts_threads_are_used_in_the_child(void **state)
{
    static const mglu_parallel backwards = {.parallel_for = run_backwards};
    struct machine parent;

    make_machine(&parent, 2, &backwards);
    assert_ok(forward(&parent.rig, parent.x, parent.y));
    assert_child(calls_the_hook, &parent);
    free_machine(&parent);
}

static int gets_after_fork(struct machine *parent)
{
    struct rig *rig = &parent->rig;
    mglu_device_info info = {.struct_size = sizeof info};
    char byte = 0;
    const mglu_status statuses[] = {
        mglu_device_pick(rig->context, "sample", &(mglu_device *){NULL}),
        mglu_queue_create(rig->device, NULL, &(mglu_queue *){NULL}),
        mglu_weights_create(rig->device, &parent->sample.desc, &(mglu_weights *){NULL}),
        mglu_layer_create(rig->weights, &machine_layer, &(mglu_layer *){NULL}),
        mglu_memory_create(rig->device, 64, &(mglu_memory *){NULL}),
        mglu_memory_read(rig->workspace, rig->queue, 0, &byte, 0),
        mglu_supports(rig->device, &parent->sample.desc, &machine_layer),
        mglu_queue_wait(rig->queue),
        forward(rig, parent->x, parent->y),
        mglu_backend_load(rig->context, getenv("MGLU_TEST_PLUGIN")),
    };

    for (size_t i = 0; i < sizeof statuses / sizeof statuses[0]; i++)
        if (statuses[i] != MGLU_ERROR_AFTER_FORK)
            return 0;
    if (mglu_device_get_info(rig->device, &info) != MGLU_OK || info.works_after_fork)
        return 0;
    if (mglu_device_pick(rig->context, "cpu", &rig->device) != MGLU_OK)
        return 0;
    rig_free(rig);
    return 1;
}

static void devices_with_a_driver_are_refused_in_the_child(void **state)
{
    struct machine parent = {.sample = sample_make(&machine_shape, 1)};
    struct rig *rig = &parent.rig;
    size_t count;

    assert_ok(mglu_context_create(NULL, &rig->context));
    assert_ok(mglu_backend_load(rig->context, getenv("MGLU_TEST_PLUGIN")));
    assert_ok(mglu_device_count(rig->context, &count));
    assert_ok(mglu_device_pick(rig->context, "sample", &rig->device));
    assert_ok(mglu_queue_create(rig->device, NULL, &rig->queue));
    assert_ok(mglu_weights_create(rig->device, &parent.sample.desc, &rig->weights));
    assert_ok(mglu_layer_create(rig->weights, &machine_layer, &rig->layer));
    assert_ok(mglu_memory_create(rig->device, mglu_layer_workspace_size(rig->layer), &rig->workspace));
    assert_child(gets_after_fork, &parent);
    free_machine(&parent);
}

/* An allocator that stops a thread in the middle of listing the devices, with the context's lock held. */
static struct {
    pthread_t lister;
    sem_t stopped, go;
    int is_armed;
} gate;

static void *allocate(void *user, size_t size, size_t alignment)
{
    void *memory;

    if (gate.is_armed && pthread_equal(pthread_self(), gate.lister)) {
        gate.is_armed = 0;
        sem_post(&gate.stopped);
        while (sem_wait(&gate.go) != 0)
            continue;
    }
    return posix_memalign(&memory, alignment < sizeof(void *) ? sizeof(void *) : alignment, size) == 0 ? memory : NULL;
}

static void release(void *user, void *memory, size_t size, size_t alignment)
{
    free(memory);
}

static void *list_devices(void *context)
{
    size_t count;

    gate.lister = pthread_self();
    gate.is_armed = 1;
    return mglu_device_count(context, &count) == MGLU_OK ? NULL : context;
}

static int is_told_that_there_is_no_list(struct machine *parent)
{
    mglu_context *context = parent->rig.context;
    mglu_device *device;
    size_t count;

    if (mglu_device_count(context, &count) != MGLU_ERROR_AFTER_FORK || mglu_device_at(context, 0) ||
        mglu_device_pick(context, "cpu", &device) != MGLU_ERROR_AFTER_FORK ||
        mglu_device_pick(context, "host", &device) != MGLU_ERROR_AFTER_FORK ||
        mglu_backend_load(context, getenv("MGLU_TEST_PLUGIN")) != MGLU_ERROR_AFTER_FORK)
        return 0;
    mglu_context_destroy(&context);
    return mglu_context_create(NULL, &context) == MGLU_OK && mglu_device_pick(context, "cpu", &device) == MGLU_OK;
}

static void a_lock_that_another_thread_held_is_not_waited_for(void **state)
{
    const mglu_allocator allocator = {.allocate = allocate, .release = release};
    const mglu_context_desc desc = {.struct_size = sizeof desc, .allocator = &allocator};
    struct machine parent = {.log = {0}};
    pthread_t thread;
    void *result;

    assert_int_equal(sem_init(&gate.stopped, 0, 0), 0);
    assert_int_equal(sem_init(&gate.go, 0, 0), 0);
    assert_ok(mglu_context_create(&desc, &parent.rig.context));
    assert_int_equal(pthread_create(&thread, NULL, list_devices, parent.rig.context), 0);
    while (sem_wait(&gate.stopped) != 0)
        continue;
    assert_child(is_told_that_there_is_no_list, &parent);
    sem_post(&gate.go);
    assert_int_equal(pthread_join(thread, &result), 0);
    assert_null(result);
    assert_int_equal(sem_destroy(&gate.stopped) | sem_destroy(&gate.go), 0);
    mglu_context_destroy(&parent.rig.context);
}

static int count_threads(void)
{
    DIR *folder = opendir("/proc/self/task");
    int count = -2; /* "." and ".." */

    while (folder && readdir(folder))
        count++;
    if (folder)
        closedir(folder);
    return count;
}

static int computes_on_two_threads(struct machine *parent)
{
    make_machine(parent, 2, NULL);
    return forward(&parent->rig, parent->x, parent->y) == MGLU_OK && parent->log.count == 0 && count_threads() == 2;
}

/* Comes first: OpenMP keeps its threads. */
static void a_process_without_threads_hands_openmp_to_its_child(void **state)
{
    struct machine parent;

    if (!strstr(mglu_build_info(), "openmp=yes") || count_threads() != 1)
        skip(); /* an emulator has threads of its own */
    make_machine(&parent, 1, NULL);
    assert_child(computes_on_two_threads, &parent);
    free_machine(&parent);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_process_without_threads_hands_openmp_to_its_child),
        cmocka_unit_test(weights_of_the_parent_compute_in_the_child),
        cmocka_unit_test(a_child_has_the_backends_that_its_parent_opened),
        cmocka_unit_test(a_hosts_threads_are_used_in_the_child),
        cmocka_unit_test(devices_with_a_driver_are_refused_in_the_child),
        cmocka_unit_test(a_lock_that_another_thread_held_is_not_waited_for),
        cmocka_unit_test(openmps_threads_of_the_parent_are_not_waited_for),
    };

    unsetenv("MGLU_BACKEND");
    unsetenv("MGLU_MAX_ISA");
    unsetenv("MGLU_NUM_THREADS");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
