/* SPDX-License-Identifier: MIT */
#include "soak.h"
#include "tests/stress/pool.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

enum { THREADS = 3, POOL_THREADS = 2, CHILD_SECONDS = 60 };

static void *wait_for_others(void *barrier)
{
    void *volatile in_own_arena = malloc(1);

    pthread_barrier_wait(barrier);
    free(in_own_arena);
    return NULL;
}

void soak_make_threads(void)
{
    enum { MOST = 8 };
    pthread_t threads[MOST];
    pthread_barrier_t barrier;

    require(pthread_barrier_init(&barrier, NULL, MOST) == 0);
    for (size_t i = 0; i < MOST; i++)
        require(pthread_create(&threads[i], NULL, wait_for_others, &barrier) == 0);
    for (size_t i = 0; i < MOST; i++)
        pthread_join(threads[i], NULL);
    pthread_barrier_destroy(&barrier);
}

/* One thread with a queue of its own on a shared layer. */
struct caller {
    struct soak *soak;
    mglu_device *handle;
    size_t device, turn;
    struct user user;
    pthread_t thread;
};

static void *compute(void *argument)
{
    struct caller *caller = argument;
    float *y = soak_output(caller->soak);

    user_open(&caller->user, caller->handle, &caller->soak->specimens[caller->turn]);
    for (int i = 0; i < 2; i++) {
        user_forward(&caller->user, y);
        soak_compare(caller->soak, caller->device, caller->turn, y);
    }
    require_failure(mglu_forward(caller->user.layer, caller->user.queue, NULL));
    user_close(&caller->user);
    free(y);
    return NULL;
}

static void run_callers(struct soak *soak, size_t device, mglu_device *handle, const struct user *shared)
{
    struct caller callers[THREADS];

    for (size_t i = 0; i < THREADS; i++) {
        callers[i] = (struct caller){.soak = soak, .handle = handle, .device = device, .turn = soak_turn(soak, device)};
        callers[i].user = (struct user){.weights = shared->weights, .layer = shared->layer};
        require(pthread_create(&callers[i].thread, NULL, compute, &callers[i]) == 0);
    }
    for (size_t i = 0; i < THREADS; i++)
        pthread_join(callers[i].thread, NULL);
}

/* A thread that ends with the OpenMP team it made. */
static void *compute_with_openmp(void *argument)
{
    struct caller *caller = argument;
    const struct soak_device *known = &caller->soak->devices[caller->device];
    const mglu_context_desc desc = {
        .struct_size = sizeof desc, .num_threads = 2, .max_isa = known->has_cap ? known->max_isa : NULL};
    mglu_context *context;
    float *y = soak_output(caller->soak);

    require_ok(mglu_context_create(&desc, &context));
    require_ok(mglu_device_pick(context, known->backend, &caller->handle));
    specimen_compute(&caller->soak->specimens[caller->turn], caller->handle, y);
    soak_compare(caller->soak, caller->device, caller->turn, y);
    mglu_context_destroy(&context);
    free(y);
    return NULL;
}

void soak_threads(struct soak *soak, size_t device)
{
    const size_t turn = soak_turn(soak, device);
    struct caller caller = {.soak = soak, .device = device, .turn = turn};
    struct pool *pool = pool_create(POOL_THREADS);
    const mglu_parallel hook = pool_hook(pool);
    struct user shared = {0};
    mglu_context *context;
    mglu_device *handle = soak_open(soak, device, &context, &hook);

    user_open(&shared, handle, &soak->specimens[turn]);
    run_callers(soak, device, handle, &shared);
    user_close(&shared);
    mglu_context_destroy(&context);
    pool_destroy(pool);
    require(pthread_create(&caller.thread, NULL, compute_with_openmp, &caller) == 0);
    pthread_join(caller.thread, NULL);
}

/* In the child: what the parent made computes the same where its device works after fork(), and else says so. */
static void use_parents(struct soak *soak, size_t device, mglu_device *parents_handle, struct user *parents, float *y)
{
    const mglu_forward_args args = {.struct_size = sizeof args, .batch = 1};
    mglu_device_info info = {.struct_size = sizeof info};

    require_ok(mglu_device_get_info(parents_handle, &info));
    if (info.works_after_fork) {
        user_forward(parents, y);
        soak_compare(soak, device, soak_turn(soak, device), y);
    } else {
        require_status(mglu_forward(parents->layer, parents->queue, &args), MGLU_ERROR_AFTER_FORK);
    }
}

/* A context of the child's own computes the same in any case. */
static void be_child(struct soak *soak, size_t device, mglu_device *parents_handle, struct user *parents)
{
    const size_t turn = soak_turn(soak, device);
    mglu_context *context;
    mglu_device *handle;
    float *y = soak_output(soak);

    alarm(CHILD_SECONDS);
    use_parents(soak, device, parents_handle, parents, y);
    handle = soak_open(soak, device, &context, NULL);
    specimen_compute(&soak->specimens[turn], handle, y);
    soak_compare(soak, device, turn, y);
    mglu_context_destroy(&context);
    _exit(EXIT_SUCCESS);
}

void soak_fork(struct soak *soak, size_t device)
{
    const size_t turn = soak_turn(soak, device);
    mglu_context *context;
    mglu_device *handle = soak_open(soak, device, &context, NULL);
    struct user user = {0};
    float *y = soak_output(soak);
    int status;
    pid_t child;

    user_open(&user, handle, &soak->specimens[turn]);
    child = fork();
    require(child >= 0);
    if (child == 0)
        be_child(soak, device, handle, &user);
    user_forward(&user, y);
    soak_compare(soak, device, turn, y);
    require(waitpid(child, &status, 0) == child);
    require(WIFEXITED(status) && WEXITSTATUS(status) == EXIT_SUCCESS);
    user_close(&user);
    mglu_context_destroy(&context);
    free(y);
}
