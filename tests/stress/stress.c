/* SPDX-License-Identifier: MIT */
#include "pool.h"
#include "require.h"
#include "specimen.h"
#include "tools/common/arguments.h"
#include "training.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*
 * 16 threads use 8 contexts at the same time, make and destroy objects in between, and every result has the bits of one
 * thread alone. The loops of all contexts run on one pool, through the hook: OpenMP's runtime is not known to the
 * thread sanitizer.
 */

enum { THREADS = 16, CONTEXTS = 8, POOL_THREADS = 3 };

/* A context that all threads use, with a layer of every specimen, and a plan of every training. */
struct shared {
    const char *backend, *max_isa;
    mglu_context *context;
    mglu_device *device;
    struct user layers[SPECIMENS];
    mglu_train *plans[TRAININGS];
    float *want[SPECIMENS];                     /* computed before any thread or pool existed */
    struct training_result *trained[TRAININGS]; /* the same */
};

struct stress {
    struct specimen specimens[SPECIMENS];
    struct training trainings[TRAININGS];
    struct shared shared[CONTEXTS];
    mglu_parallel hook;
    int64_t calls; /* of each thread */
};

struct caller {
    struct stress *stress;
    uint32_t seed;
    void *result;
    pthread_t thread;
};

static uint32_t draw(struct caller *caller, uint32_t count)
{
    caller->seed = caller->seed * 1664525u + 1013904223u;
    return (caller->seed >> 8) % count;
}

static void compare(const struct shared *shared, const char *what, size_t number, const void *got, const void *want,
                    size_t size)
{
    if (memcmp(got, want, size) == 0)
        return;
    fprintf(stderr, "%s %s: %s %zu has other bits than on one thread\n", shared->backend,
            shared->max_isa ? shared->max_isa : "", what, number);
    require(!"the same bits");
}

static void compute(struct caller *caller, const struct shared *shared, mglu_device *device, size_t number,
                    struct user user)
{
    const struct specimen *specimen = &caller->stress->specimens[number];

    user_open(&user, device, specimen);
    user_forward(&user, caller->result);
    compare(shared, "specimen", number, caller->result, shared->want[number], specimen->y_size);
    user_close(&user);
}

/* A queue and a workspace on a layer that others use. */
static void use_layer(struct caller *caller, struct shared *shared, size_t number)
{
    const struct user *theirs = &shared->layers[number];

    compute(caller, shared, shared->device, number, (struct user){.weights = theirs->weights, .layer = theirs->layer});
}

static void make_layer(struct caller *caller, struct shared *shared, size_t number)
{
    compute(caller, shared, shared->device, number, (struct user){.weights = shared->layers[number].weights});
}

static void make_weights(struct caller *caller, struct shared *shared, size_t number)
{
    compute(caller, shared, shared->device, number, (struct user){0});
}

static void make_context(struct caller *caller, struct shared *shared, size_t number)
{
    mglu_context *context;
    mglu_device *device = open_device(&context, shared->backend, shared->max_isa, &caller->stress->hook);

    compute(caller, shared, device, number, (struct user){0});
    mglu_context_destroy(&context);
}

static void compare_trained(const struct caller *caller, const struct shared *shared, size_t number)
{
    compare(shared, "training", number, caller->result, shared->trained[number], sizeof *shared->trained[number]);
}

static void train(struct caller *caller, struct shared *shared, size_t number)
{
    training_step(&caller->stress->trainings[number % TRAININGS], shared->device, shared->plans[number % TRAININGS],
                  caller->result);
    compare_trained(caller, shared, number % TRAININGS);
}

static void make_plan(struct caller *caller, struct shared *shared, size_t number)
{
    training_compute(&caller->stress->trainings[number % TRAININGS], shared->device, caller->result);
    compare_trained(caller, shared, number % TRAININGS);
}

/* The reason of a failure is the thread's own. */
static void fail(struct caller *caller, struct shared *shared, size_t number)
{
    char name[16];
    mglu_device *device;
    size_t count;

    snprintf(name, sizeof name, "none-%u", (unsigned)draw(caller, 1000));
    require_status(mglu_device_pick(shared->context, name, &device), MGLU_ERROR_NO_DEVICE);
    require_ok(mglu_device_count(shared->context, &count));
    require(strstr(mglu_last_error(), name) != NULL);
}

static void *call(void *argument)
{
    static void (*const uses[])(struct caller * caller, struct shared * shared, size_t number) = {
        use_layer, use_layer, use_layer, make_layer, make_weights, make_context, train, make_plan, fail};
    struct caller *caller = argument;

    for (int64_t i = 0; i < caller->stress->calls; i++)
        uses[draw(caller, sizeof uses / sizeof uses[0])](caller, &caller->stress->shared[draw(caller, CONTEXTS)],
                                                         draw(caller, SPECIMENS));
    return NULL;
}

/* The wanted results, on this thread alone. */
static void compute_alone(struct stress *stress, struct shared *shared)
{
    mglu_context *context;
    mglu_device *device = open_device(&context, shared->backend, shared->max_isa, NULL);

    for (size_t i = 0; i < SPECIMENS; i++) {
        shared->want[i] = malloc(stress->specimens[i].y_size);
        require(shared->want[i] != NULL);
        specimen_compute(&stress->specimens[i], device, shared->want[i]);
    }
    for (size_t i = 0; i < TRAININGS; i++) {
        shared->trained[i] = malloc(sizeof *shared->trained[i]);
        require(shared->trained[i] != NULL);
        training_compute(&stress->trainings[i], device, shared->trained[i]);
    }
    mglu_context_destroy(&context);
}

static void open_shared(struct stress *stress, struct shared *shared)
{
    shared->device = open_device(&shared->context, shared->backend, shared->max_isa, &stress->hook);
    for (size_t i = 0; i < SPECIMENS; i++)
        user_open(&shared->layers[i], shared->device, &stress->specimens[i]);
    for (size_t i = 0; i < TRAININGS; i++)
        require_ok(mglu_train_create(shared->device, &stress->trainings[i].desc, &shared->plans[i]));
}

static void close_shared(struct shared *shared)
{
    for (size_t i = 0; i < SPECIMENS; i++) {
        user_close(&shared->layers[i]);
        free(shared->want[i]);
    }
    for (size_t i = 0; i < TRAININGS; i++) {
        mglu_train_destroy(&shared->plans[i]);
        free(shared->trained[i]);
    }
    mglu_context_destroy(&shared->context);
}

/* The first context is the reference backend's, the others take turns with the instruction sets of this machine. */
static void choose_devices(struct stress *stress, mglu_context *context)
{
    mglu_device_info info = {.struct_size = sizeof info};
    mglu_device *cpu;
    size_t sets = 0;

    require_ok(mglu_device_pick(context, "cpu", &cpu));
    require_ok(mglu_device_get_info(cpu, &info));
    while (info.instruction_sets[sets])
        sets++;
    stress->shared[0].backend = "ref";
    for (size_t i = 1; i < CONTEXTS; i++) {
        stress->shared[i].backend = "cpu";
        stress->shared[i].max_isa = info.instruction_sets[i % sets];
    }
}

static void run_callers(struct stress *stress)
{
    struct caller callers[THREADS];

    for (uint32_t i = 0; i < THREADS; i++) {
        callers[i] = (struct caller){.stress = stress, .seed = i, .result = malloc(1 << 16)};
        require(callers[i].result && pthread_create(&callers[i].thread, NULL, call, &callers[i]) == 0);
    }
    for (size_t i = 0; i < THREADS; i++) {
        pthread_join(callers[i].thread, NULL);
        free(callers[i].result);
    }
}

static void make_inputs(struct stress *stress)
{
    for (size_t i = 0; i < SPECIMENS; i++)
        specimen_make(&stress->specimens[i], i);
    for (size_t i = 0; i < TRAININGS; i++)
        training_make(&stress->trainings[i], i);
}

static void free_inputs(struct stress *stress)
{
    for (size_t i = 0; i < SPECIMENS; i++)
        specimen_free(&stress->specimens[i]);
    for (size_t i = 0; i < TRAININGS; i++)
        training_free(&stress->trainings[i]);
}

static void run(struct stress *stress)
{
    mglu_context *context; /* lives as long as the names of instruction sets are used */
    struct pool *pool;

    require_ok(mglu_context_create(NULL, &context));
    choose_devices(stress, context);
    make_inputs(stress);
    for (size_t i = 0; i < CONTEXTS; i++)
        compute_alone(stress, &stress->shared[i]);
    pool = pool_create(POOL_THREADS);
    stress->hook = pool_hook(pool);
    for (size_t i = 0; i < CONTEXTS; i++)
        open_shared(stress, &stress->shared[i]);
    run_callers(stress);
    for (size_t i = 0; i < CONTEXTS; i++)
        close_shared(&stress->shared[i]);
    free_inputs(stress);
    pool_destroy(pool);
    mglu_context_destroy(&context);
}

static error_t parse(int key, char *argument, struct argp_state *state)
{
    struct stress *stress = state->input;

    if (key != 'c')
        return ARGP_ERR_UNKNOWN;
    stress->calls = arguments_number(state, "--calls", argument, 1, INT32_MAX);
    return 0;
}

int main(int argc, char **argv)
{
    static const struct argp_option argp_options[] = {
        {"calls", 'c', "N", 0, "uses of a context by each thread (default 20)", 0}, {0}};
    const struct argp parser = {
        .options = argp_options,
        .parser = parse,
        .doc = "16 threads use 8 contexts at the same time. The exit status is 0 where every result has the bits of "
               "one thread alone."};
    struct stress stress = {.calls = 20};

    if (argp_parse(&parser, argc, argv, 0, NULL, &stress) != 0)
        return 2;
    run(&stress);
    printf("%d threads, %d contexts, %lld calls, all with the bits of one thread\n", THREADS, CONTEXTS,
           (long long)(THREADS * stress.calls));
    return EXIT_SUCCESS;
}
