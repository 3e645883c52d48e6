/* SPDX-License-Identifier: MIT */
#include "fake_state.h"

#include "../shim/shim.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* What happens to the calls of the driver, and what tests see of it. */

struct fake_state fake = {.lock = PTHREAD_MUTEX_INITIALIZER};
_Thread_local CUcontext fake_stack[16];
_Thread_local int fake_depth;

static char log_calls[FAKE_LOG_CALLS][48];
static int log_count;
static struct fake_launch launches[FAKE_LOG_CALLS];
static int launch_count;
static char failed_call[48];
static int hanging_calls;
static pid_t process; /* that called cuInit */

/* ---- What tests use -------------------------------------------------------------------------------------------- */

EXPORT struct fake_settings *fake_settings(void)
{
    return &fake.settings;
}

EXPORT void fake_log_clear(void)
{
    log_count = launch_count = 0;
}

EXPORT void fake_reset(void)
{
    fake.settings = (struct fake_settings){.device_count = 1,
                                           .driver_version = CUDA_VERSION,
                                           .architecture = 90,
                                           .written_for = 90,
                                           .multiprocessors = 132,
                                           .calls_before_failure = -1};
    failed_call[0] = '\0';
    hanging_calls = 0;
    fake_log_clear();
}

/*
 * A fresh process has one working device. For whole programs MGLU_FAKE_ARCHITECTURE and MGLU_FAKE_MULTIPROCESSORS
 * change it, and MGLU_FAKE_TENSOR_CORE, the number of one of the shim's models, how its tensor cores round. With
 * MGLU_FAILING_CALL=K call number K, from 0 on, fails with the result MGLU_FAILURE, and its name is written to the file
 * MGLU_FAILED_CALL_FILE.
 */
__attribute__((constructor)) static void begin(void)
{
    const char *architecture = getenv("MGLU_FAKE_ARCHITECTURE"), *tensor_core = getenv("MGLU_FAKE_TENSOR_CORE");
    const char *multiprocessors = getenv("MGLU_FAKE_MULTIPROCESSORS");
    const char *failing_call = getenv("MGLU_FAILING_CALL"), *failure = getenv("MGLU_FAILURE");

    fake_reset();
    if (failing_call && failure) {
        fake.settings.failing_call = FAKE_EVERY_CALL;
        fake.settings.calls_before_failure = atoi(failing_call);
        fake.settings.failure = (CUresult)atoi(failure);
    }
    if (architecture)
        fake.settings.architecture = atoi(architecture);
    if (multiprocessors)
        fake.settings.multiprocessors = atoi(multiprocessors);
    if (tensor_core)
        mglu_shim_set_tensor_core((mglu_shim_tensor_core)atoi(tensor_core));
}

EXPORT int fake_log_count(void)
{
    return log_count;
}

EXPORT const char *fake_log_call(int index)
{
    return log_calls[index];
}

EXPORT const char *fake_failed_call(void)
{
    return failed_call;
}

EXPORT int fake_hanging_calls(void)
{
    return hanging_calls;
}

EXPORT int fake_launch_count(void)
{
    return launch_count;
}

EXPORT struct fake_launch fake_launch_at(int index)
{
    return launches[index];
}

/* ---- What every call begins with -------------------------------------------------------------------------------- */

static int needs_context(const char *call)
{
    static const char *const without[] = {"cuInit", "cuDriver", "cuDevice", "cuCtx", "cuGetErrorName"};

    for (size_t i = 0; i < sizeof without / sizeof without[0]; i++)
        if (!strncmp(call, without[i], strlen(without[i])))
            return 0;
    return 1;
}

static int is_meant(const char *call)
{
    const char *meant = fake.settings.failing_call;

    if (!meant)
        return strncmp(call, "cuCtx", 5) != 0;
    return !strcmp(meant, FAKE_EVERY_CALL) || !strcmp(meant, call);
}

/* In a file too, for tests of whole programs. */
static void note_failed(const char *call)
{
    const char *path = getenv("MGLU_FAILED_CALL_FILE");
    FILE *file = path && !failed_call[0] ? fopen(path, "w") : NULL;

    if (!failed_call[0])
        snprintf(failed_call, sizeof failed_call, "%s", call);
    if (file) {
        fputs(call, file);
        fclose(file);
    }
}

/*
 * Whether this call fails, or follows a permanent failure. The stack of contexts still works then; it fails only when
 * it is named.
 */
static int fails_now(const char *call)
{
    if (fake.settings.calls_before_failure < 0)
        return 0;
    if (!is_meant(call))
        return 0;
    if (fake.settings.calls_before_failure > 0) {
        fake.settings.calls_before_failure--;
        return 0;
    }
    fake.settings.failing_call = NULL;
    note_failed(call);
    if (!fake.settings.failure_stays)
        fake.settings.calls_before_failure = -1;
    return 1;
}

/* As on a device while a stream is captured: a call that waits, allocates, frees or loads is an error and ends the
 * capture. */
static int spoils_capture(const char *call)
{
    int spoils = fake.captured && needs_context(call) && strcmp(call, "cuLaunchKernelEx") != 0 &&
                 strcmp(call, "cuStreamIsCapturing") != 0;

    fake.capture_is_spoilt |= spoils;
    return spoils;
}

CUresult fake_enter(const char *call)
{
    CUresult result = CUDA_SUCCESS;

    pthread_mutex_lock(&fake.lock);
    if (log_count < FAKE_LOG_CALLS)
        snprintf(log_calls[log_count++], sizeof log_calls[0], "%s", call);
    if (process != getpid())
        result = CUDA_ERROR_NOT_INITIALIZED;
    else if (needs_context(call) && (fake_depth == 0 || !fake_stack[fake_depth - 1]))
        result = CUDA_ERROR_INVALID_CONTEXT;
    else if (spoils_capture(call))
        result = CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    else if (fails_now(call))
        result = fake.settings.failure;
    pthread_mutex_unlock(&fake.lock);
    return result;
}

/* What was given to the driver with functions that hung, as a driver may hold it for ever. */
static void *volatile held[64];
static int held_count;

CUresult fake_keep_function(CUstream stream, CUhostFn function, void *user)
{
    struct node *node = &fake.waiting.nodes[fake.waiting.count];

    if (fake.waiting.count == (int)(sizeof fake.waiting.nodes / sizeof *node) ||
        held_count == (int)(sizeof held / sizeof *held))
        return CUDA_ERROR_OUT_OF_MEMORY;
    held[held_count++] = user;
    fake.waiting.count++;
    *node = (struct node){.launch.stream = stream, .host_function = function, .user = user};
    return CUDA_SUCCESS;
}

static int is_busy_on(CUstream stream)
{
    for (int i = 0; i < fake.waiting.count; i++)
        if (stream == FAKE_ALL_STREAMS || fake.waiting.nodes[i].launch.stream == stream)
            return 1;
    return 0;
}

/* On a device the call would not return. */
CUresult fake_enter_to_wait(const char *call, CUstream stream)
{
    pthread_mutex_lock(&fake.lock);
    hanging_calls += is_busy_on(stream);
    pthread_mutex_unlock(&fake.lock);
    return fake_enter(call);
}

int fake_begin_process(void)
{
    if (process && process != getpid())
        return 0;
    process = getpid();
    return 1;
}

/* A device may run a kernel immediately too. */
void fake_run(const struct fake_launch *launch, const void *argument)
{
    if (launch_count < FAKE_LOG_CALLS)
        launches[launch_count++] = *launch;
    mglu_shim_launch(launch->symbol, launch->grid_x, launch->grid_y, launch->block_x, launch->shared_bytes, argument);
}

CUresult fake_keep(struct CUgraph_st *graph, const struct fake_launch *launch, const void *argument)
{
    struct node *node = &graph->nodes[graph->count];

    if (graph->count == (int)(sizeof graph->nodes / sizeof *node))
        return CUDA_ERROR_OUT_OF_MEMORY;
    graph->count++;
    *node = (struct node){.launch = *launch};
    memcpy(&node->argument, argument,
           strcmp(launch->symbol, MGLU_CUDA_ROUTE_SYMBOL) ? sizeof node->argument.projection
                                                          : sizeof node->argument.routing);
    return CUDA_SUCCESS;
}

static void run_node(struct node *node)
{
    if (node->host_function)
        node->host_function(node->user);
    else
        fake_run(&node->launch, &node->argument);
}

/* With the lock held. */
static void end_work(void)
{
    fake.settings.is_hanging = 0;
    for (int i = 0; i < fake.waiting.count; i++)
        run_node(&fake.waiting.nodes[i]);
    fake.waiting.count = 0;
}

EXPORT void fake_drop_work(void)
{
    pthread_mutex_lock(&fake.lock);
    fake.settings.is_hanging = 0;
    fake.waiting.count = 0;
    pthread_mutex_unlock(&fake.lock);
}

EXPORT void fake_end_work(void)
{
    pthread_mutex_lock(&fake.lock);
    end_work();
    pthread_mutex_unlock(&fake.lock);
}

int fake_query(CUstream stream)
{
    int is_busy;

    pthread_mutex_lock(&fake.lock);
    if (fake.settings.queries_before_end > 0 && --fake.settings.queries_before_end == 0)
        end_work();
    is_busy = is_busy_on(stream);
    pthread_mutex_unlock(&fake.lock);
    return is_busy;
}
