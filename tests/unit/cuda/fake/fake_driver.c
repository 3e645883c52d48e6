/* SPDX-License-Identifier: MIT */
#include "fake_driver.h"

#include "../shim/shim.h"
#include "backends/cuda/kernels/params.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* Functions are named as in cuda.h, whose macros give them their versions. */
#define EXPORT __attribute__((visibility("default")))

enum { MEMORY_ALIGNMENT = 256, SHARED_BYTES = 48 << 10, MOST_GRID_Y = 65535, POISON = 0xff };

/* Any object that is given out and must be released. */
struct thing {
    struct thing *next;
    char *data;
    size_t size;
};

struct CUfunc_st {
    char symbol[64];
    unsigned int shared_bytes; /* dynamic, that a launch may ask for */
};

/* A kernel with its argument, as a graph keeps it. */
struct node {
    struct fake_launch launch;
    union {
        struct mglu_cuda_projection projection;
        struct mglu_cuda_routing routing;
    } argument;
};

struct CUgraph_st {
    struct node nodes[8];
    int count;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* guards all that follows except the stacks */
static struct fake_settings settings;
static int contexts_retained[FAKE_MOST_DEVICES];
static struct thing *allocations, *host_allocations, *streams, *events, *modules, *functions;
static char log_calls[FAKE_LOG_CALLS][48];
static int log_count;
static struct fake_launch launches[FAKE_LOG_CALLS];
static int launch_count;
static pid_t process;    /* that called cuInit */
static CUgraph captured; /* what is being captured, or NULL */
static CUstream captured_stream;
static int capture_is_spoilt;

static _Thread_local CUcontext stack[16];
static _Thread_local int depth;

static CUcontext context_of(CUdevice device)
{
    return (CUcontext)(uintptr_t)(0x1000 + device);
}

/* ---- What tests use -------------------------------------------------------------------------------------------- */

EXPORT struct fake_settings *fake_settings(void)
{
    return &settings;
}

EXPORT void fake_log_clear(void)
{
    log_count = launch_count = 0;
}

EXPORT void fake_reset(void)
{
    settings = (struct fake_settings){.device_count = 1,
                                      .driver_version = CUDA_VERSION,
                                      .architecture = 90,
                                      .written_for = 90,
                                      .multiprocessors = 132,
                                      .calls_before_failure = -1};
    fake_log_clear();
}

/*
 * A fresh process has one working device. For whole programs MGLU_FAKE_ARCHITECTURE and MGLU_FAKE_MULTIPROCESSORS
 * change it, and MGLU_FAKE_TENSOR_CORE, the number of one of the shim's models, how its tensor cores round.
 */
__attribute__((constructor)) static void begin(void)
{
    const char *architecture = getenv("MGLU_FAKE_ARCHITECTURE"), *tensor_core = getenv("MGLU_FAKE_TENSOR_CORE");
    const char *multiprocessors = getenv("MGLU_FAKE_MULTIPROCESSORS");

    fake_reset();
    if (architecture)
        settings.architecture = atoi(architecture);
    if (multiprocessors)
        settings.multiprocessors = atoi(multiprocessors);
    if (tensor_core)
        mglu_shim_set_tensor_core((mglu_shim_tensor_core)atoi(tensor_core));
}

static int count_things(const struct thing *thing)
{
    int count = 0;

    for (; thing; thing = thing->next)
        count++;
    return count;
}

EXPORT struct fake_balance fake_balance(void)
{
    struct fake_balance balance = {
        .allocations = count_things(allocations),
        .host_allocations = count_things(host_allocations),
        .streams = count_things(streams),
        .modules = count_things(modules),
        .pushed = depth,
    };

    for (int i = 0; i < FAKE_MOST_DEVICES; i++)
        balance.contexts += contexts_retained[i];
    return balance;
}

EXPORT int fake_log_count(void)
{
    return log_count;
}

EXPORT const char *fake_log_call(int index)
{
    return log_calls[index];
}

EXPORT int fake_launch_count(void)
{
    return launch_count;
}

EXPORT struct fake_launch fake_launch_at(int index)
{
    return launches[index];
}

EXPORT size_t fake_device_bytes(void)
{
    size_t bytes = 0;

    for (const struct thing *thing = allocations; thing; thing = thing->next)
        bytes += thing->size;
    return bytes;
}

static const struct thing *holder_of(const struct thing *thing, const char *address, size_t size)
{
    for (; thing; thing = thing->next)
        if (address >= thing->data && size <= thing->size && address - thing->data <= (ptrdiff_t)(thing->size - size))
            return thing;
    return NULL;
}

EXPORT const void *fake_device_memory(CUdeviceptr address, size_t *size)
{
    const struct thing *thing = holder_of(allocations, (const char *)(uintptr_t)address, 0);

    *size = thing ? thing->size : 0;
    return thing ? thing->data : NULL;
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

/*
 * Whether this call fails, or follows a permanent failure. The stack of contexts still works then; it fails only when
 * it is named.
 */
static int fails_now(const char *call)
{
    if (settings.calls_before_failure < 0)
        return 0;
    if (settings.failing_call ? strcmp(call, settings.failing_call) != 0 : !strncmp(call, "cuCtx", 5))
        return 0;
    if (settings.calls_before_failure > 0) {
        settings.calls_before_failure--;
        return 0;
    }
    settings.failing_call = NULL;
    if (!settings.failure_stays)
        settings.calls_before_failure = -1;
    return 1;
}

/* As on a device while a stream is captured: a call that waits, allocates, frees or loads is an error and ends the
 * capture. */
static int spoils_capture(const char *call)
{
    int spoils = captured && needs_context(call) && strcmp(call, "cuLaunchKernelEx") != 0;

    capture_is_spoilt |= spoils;
    return spoils;
}

/* Logs a call and returns its result before it has any effect. */
static CUresult enter(const char *call)
{
    CUresult result = CUDA_SUCCESS;

    pthread_mutex_lock(&lock);
    if (log_count < FAKE_LOG_CALLS)
        snprintf(log_calls[log_count++], sizeof log_calls[0], "%s", call);
    if (process != getpid())
        result = CUDA_ERROR_NOT_INITIALIZED;
    else if (needs_context(call) && (depth == 0 || !stack[depth - 1]))
        result = CUDA_ERROR_INVALID_CONTEXT;
    else if (spoils_capture(call))
        result = CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    else if (fails_now(call))
        result = settings.failure;
    pthread_mutex_unlock(&lock);
    return result;
}

/* Allocates `size` bytes on a list, filled with POISON. */
static void *take(struct thing **list, size_t size)
{
    struct thing *thing = malloc(sizeof *thing);

    *thing = (struct thing){
        .data = aligned_alloc(MEMORY_ALIGNMENT, (size + MEMORY_ALIGNMENT - 1) / MEMORY_ALIGNMENT * MEMORY_ALIGNMENT),
        .size = size};
    memset(thing->data, POISON, size);
    pthread_mutex_lock(&lock);
    thing->next = *list;
    *list = thing;
    pthread_mutex_unlock(&lock);
    return thing->data;
}

/* Releases an object whatever `result` is: it may report an earlier error. */
static CUresult give(struct thing **list, const void *data, CUresult result)
{
    CUresult found = CUDA_ERROR_INVALID_VALUE;

    pthread_mutex_lock(&lock);
    for (; *list; list = &(*list)->next) {
        struct thing *thing = *list;

        if (thing->data != data)
            continue;
        *list = thing->next;
        free(thing->data);
        free(thing);
        found = CUDA_SUCCESS;
        break;
    }
    pthread_mutex_unlock(&lock);
    return result == CUDA_SUCCESS ? found : result;
}

/* ---- Devices and contexts ---------------------------------------------------------------------------------------- */

EXPORT CUresult cuInit(unsigned int flags)
{
    if (process && process != getpid())
        return CUDA_ERROR_NOT_INITIALIZED;
    process = getpid();
    return enter("cuInit");
}

EXPORT CUresult cuDriverGetVersion(int *version)
{
    *version = settings.driver_version;
    return enter("cuDriverGetVersion");
}

EXPORT CUresult cuGetErrorName(CUresult error, const char **name)
{
    static const struct {
        CUresult error;
        const char *name;
    } names[] = {
        {CUDA_SUCCESS, "CUDA_SUCCESS"},
        {CUDA_ERROR_OUT_OF_MEMORY, "CUDA_ERROR_OUT_OF_MEMORY"},
        {CUDA_ERROR_NOT_INITIALIZED, "CUDA_ERROR_NOT_INITIALIZED"},
        {CUDA_ERROR_NO_DEVICE, "CUDA_ERROR_NO_DEVICE"},
        {CUDA_ERROR_NO_BINARY_FOR_GPU, "CUDA_ERROR_NO_BINARY_FOR_GPU"},
        {CUDA_ERROR_ILLEGAL_ADDRESS, "CUDA_ERROR_ILLEGAL_ADDRESS"},
        {CUDA_ERROR_LAUNCH_FAILED, "CUDA_ERROR_LAUNCH_FAILED"},
        {CUDA_ERROR_LAUNCH_TIMEOUT, "CUDA_ERROR_LAUNCH_TIMEOUT"},
        {CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES, "CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES"},
    };

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (names[i].error == error) {
            *name = names[i].name;
            return CUDA_SUCCESS;
        }
    }
    *name = NULL;
    return CUDA_ERROR_INVALID_VALUE;
}

EXPORT CUresult cuDeviceGetCount(int *count)
{
    *count = settings.device_count;
    return enter("cuDeviceGetCount");
}

EXPORT CUresult cuDeviceGet(CUdevice *device, int ordinal)
{
    *device = ordinal;
    return ordinal < settings.device_count ? enter("cuDeviceGet") : CUDA_ERROR_INVALID_DEVICE;
}

EXPORT CUresult cuDeviceGetName(char *name, int length, CUdevice device)
{
    snprintf(name, (size_t)length, "Imaginary GPU");
    return enter("cuDeviceGetName");
}

EXPORT CUresult cuDeviceTotalMem(size_t *bytes, CUdevice device)
{
    *bytes = (size_t)1 << 34;
    return enter("cuDeviceTotalMem");
}

static int shared_of_multiprocessor(void)
{
    return (settings.architecture / 10 == 9 || settings.architecture / 10 == 10 ? 228 : 100) << 10;
}

EXPORT CUresult cuDeviceGetAttribute(int *value, CUdevice_attribute attribute, CUdevice device)
{
    if (attribute == CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)
        *value = settings.architecture / 10;
    else if (attribute == CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)
        *value = settings.architecture % 10;
    else if (attribute == CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)
        *value = settings.multiprocessors;
    else if (attribute == CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR)
        *value = shared_of_multiprocessor();
    else
        return CUDA_ERROR_INVALID_VALUE;
    return enter("cuDeviceGetAttribute");
}

EXPORT CUresult cuDevicePrimaryCtxRetain(CUcontext *context, CUdevice device)
{
    CUresult result = enter("cuDevicePrimaryCtxRetain");

    if (result != CUDA_SUCCESS)
        return result;
    contexts_retained[device]++;
    *context = context_of(device);
    return CUDA_SUCCESS;
}

EXPORT CUresult cuDevicePrimaryCtxRelease(CUdevice device)
{
    CUresult result = enter("cuDevicePrimaryCtxRelease");

    if (contexts_retained[device] > 0)
        contexts_retained[device]--;
    return result;
}

EXPORT CUresult cuCtxPushCurrent(CUcontext context)
{
    CUresult result = enter("cuCtxPushCurrent");

    if (result == CUDA_SUCCESS)
        stack[depth++] = context;
    return result;
}

EXPORT CUresult cuCtxPopCurrent(CUcontext *context)
{
    CUresult result = enter("cuCtxPopCurrent");

    if (depth == 0)
        return CUDA_ERROR_INVALID_CONTEXT;
    *context = stack[--depth];
    return result;
}

EXPORT CUresult cuCtxGetCurrent(CUcontext *context)
{
    *context = depth ? stack[depth - 1] : NULL;
    return CUDA_SUCCESS;
}

/* ---- Kernels ----------------------------------------------------------------------------------------------------- */

EXPORT CUresult cuModuleLoadData(CUmodule *module, const void *image)
{
    static const unsigned char fatbin[] = {0x50, 0xed, 0x55, 0xba};
    CUresult result = enter("cuModuleLoadData");

    if (result != CUDA_SUCCESS)
        return result;
    if (memcmp(image, fatbin, sizeof fatbin) != 0)
        return CUDA_ERROR_INVALID_IMAGE;
    *module = take(&modules, 1);
    return CUDA_SUCCESS;
}

EXPORT CUresult cuModuleUnload(CUmodule module)
{
    return give(&modules, module, enter("cuModuleUnload"));
}

EXPORT CUresult cuModuleGetFunction(CUfunction *function, CUmodule module, const char *symbol)
{
    CUresult result = enter("cuModuleGetFunction");

    if (result != CUDA_SUCCESS)
        return result;
    if (!mglu_shim_has(symbol))
        return CUDA_ERROR_NOT_FOUND;
    *function = take(&functions, sizeof **function);
    snprintf((*function)->symbol, sizeof(*function)->symbol, "%s", symbol);
    (*function)->shared_bytes = SHARED_BYTES;
    return CUDA_SUCCESS;
}

EXPORT CUresult cuFuncLoad(CUfunction function)
{
    return enter("cuFuncLoad");
}

/* As the kernels were compiled, by their launch bounds. */
static int most_threads(const char *symbol)
{
    if (strstr(symbol, "mma") || strstr(symbol, "route"))
        return 128;
    return strstr(symbol, "_m16") ? 256 : 512;
}

EXPORT CUresult cuFuncGetAttribute(int *value, CUfunction_attribute attribute, CUfunction function)
{
    *value = attribute == CU_FUNC_ATTRIBUTE_PTX_VERSION ? settings.written_for
             : attribute == CU_FUNC_ATTRIBUTE_NUM_REGS  ? FAKE_REGISTERS
                                                        : most_threads(function->symbol);
    return enter("cuFuncGetAttribute");
}

/* A block of threads gets what its multiprocessor has but 1 KiB. */
EXPORT CUresult cuFuncSetAttribute(CUfunction function, CUfunction_attribute attribute, int value)
{
    CUresult result = enter("cuFuncSetAttribute");

    if (result != CUDA_SUCCESS)
        return result;
    if (attribute != CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES || value > shared_of_multiprocessor() - 1024)
        return CUDA_ERROR_INVALID_VALUE;
    function->shared_bytes = (unsigned int)value;
    return CUDA_SUCCESS;
}

EXPORT CUresult cuOccupancyMaxActiveBlocksPerMultiprocessor(int *blocks, CUfunction function, int threads,
                                                            size_t shared_bytes)
{
    *blocks = 65536 / FAKE_REGISTERS / threads;
    return enter("cuOccupancyMaxActiveBlocksPerMultiprocessor");
}

static int is_possible(const CUlaunchConfig *config, CUfunction function)
{
    return config->gridDimX > 0 && config->gridDimX < 1u << 31 && config->gridDimY > 0 &&
           config->gridDimY <= MOST_GRID_Y && config->gridDimZ == 1 && config->blockDimX > 0 &&
           config->blockDimX <= (unsigned int)most_threads(function->symbol) && config->blockDimY == 1 &&
           config->blockDimZ == 1 && config->sharedMemBytes <= function->shared_bytes;
}

static struct fake_launch describe(const CUlaunchConfig *config, CUfunction function)
{
    struct fake_launch launch = {
        .stream = config->hStream,
        .grid_x = config->gridDimX,
        .grid_y = config->gridDimY,
        .block_x = config->blockDimX,
        .shared_bytes = config->sharedMemBytes,
    };

    memcpy(launch.symbol, function->symbol, sizeof launch.symbol);
    for (unsigned int i = 0; i < config->numAttrs; i++)
        launch.overlaps |= config->attrs[i].id == CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION &&
                           config->attrs[i].value.programmaticStreamSerializationAllowed;
    return launch;
}

/* A device may run a kernel immediately too. */
static void run(const struct fake_launch *launch, const void *argument)
{
    if (launch_count < FAKE_LOG_CALLS)
        launches[launch_count++] = *launch;
    mglu_shim_launch(launch->symbol, launch->grid_x, launch->grid_y, launch->block_x, launch->shared_bytes, argument);
}

static CUresult capture(const struct fake_launch *launch, const void *argument)
{
    struct node *node = &captured->nodes[captured->count];

    if (launch->stream != captured_stream || captured->count == (int)(sizeof captured->nodes / sizeof *node))
        return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    captured->count++;
    node->launch = *launch;
    memcpy(&node->argument, argument,
           strcmp(launch->symbol, MGLU_CUDA_ROUTE_SYMBOL) ? sizeof node->argument.projection
                                                          : sizeof node->argument.routing);
    return CUDA_SUCCESS;
}

EXPORT CUresult cuLaunchKernelEx(const CUlaunchConfig *config, CUfunction function, void **arguments, void **extra)
{
    CUresult result = enter("cuLaunchKernelEx");
    struct fake_launch launch;

    if (result != CUDA_SUCCESS)
        return result;
    if (!is_possible(config, function))
        return CUDA_ERROR_INVALID_VALUE;
    launch = describe(config, function);
    pthread_mutex_lock(&lock);
    if (captured)
        result = capture(&launch, arguments[0]);
    else
        run(&launch, arguments[0]);
    pthread_mutex_unlock(&lock);
    return result;
}

/* ---- Graphs ------------------------------------------------------------------------------------------------------ */

EXPORT CUresult cuStreamBeginCapture(CUstream stream, CUstreamCaptureMode mode)
{
    captured = calloc(1, sizeof *captured);
    captured_stream = stream;
    capture_is_spoilt = 0;
    return CUDA_SUCCESS;
}

EXPORT CUresult cuStreamEndCapture(CUstream stream, CUgraph *graph)
{
    *graph = capture_is_spoilt ? NULL : captured;
    if (capture_is_spoilt)
        free(captured);
    captured = NULL;
    return capture_is_spoilt ? CUDA_ERROR_STREAM_CAPTURE_INVALIDATED : CUDA_SUCCESS;
}

/* A graph that can be launched is the graph itself. */
EXPORT CUresult cuGraphInstantiateWithFlags(CUgraphExec *executable, CUgraph graph, unsigned long long flags)
{
    *executable = (CUgraphExec)(void *)graph;
    return CUDA_SUCCESS;
}

EXPORT CUresult cuGraphLaunch(CUgraphExec executable, CUstream stream)
{
    const struct CUgraph_st *graph = (const struct CUgraph_st *)(const void *)executable;

    pthread_mutex_lock(&lock);
    for (int i = 0; i < graph->count; i++)
        run(&graph->nodes[i].launch, &graph->nodes[i].argument);
    pthread_mutex_unlock(&lock);
    return CUDA_SUCCESS;
}

EXPORT CUresult cuGraphExecDestroy(CUgraphExec executable)
{
    return CUDA_SUCCESS;
}

EXPORT CUresult cuGraphDestroy(CUgraph graph)
{
    free(graph);
    return CUDA_SUCCESS;
}

/* ---- Memory and streams ------------------------------------------------------------------------------------------ */

EXPORT CUresult cuMemAlloc(CUdeviceptr *address, size_t size)
{
    CUresult result = enter("cuMemAlloc");

    if (result == CUDA_SUCCESS && size == 0)
        result = CUDA_ERROR_INVALID_VALUE;
    if (result == CUDA_SUCCESS)
        *address = (CUdeviceptr)(uintptr_t)take(&allocations, size);
    return result;
}

EXPORT CUresult cuMemFree(CUdeviceptr address)
{
    return give(&allocations, (const void *)(uintptr_t)address, enter("cuMemFree"));
}

EXPORT CUresult cuMemHostAlloc(void **memory, size_t size, unsigned int flags)
{
    CUresult result = enter("cuMemHostAlloc");

    if (result == CUDA_SUCCESS)
        *memory = take(&host_allocations, size);
    return result;
}

EXPORT CUresult cuMemFreeHost(void *memory)
{
    return give(&host_allocations, memory, enter("cuMemFreeHost"));
}

EXPORT CUresult cuMemHostGetDevicePointer(CUdeviceptr *address, void *memory, unsigned int flags)
{
    *address = (CUdeviceptr)(uintptr_t)memory;
    return enter("cuMemHostGetDevicePointer");
}

static CUresult check_stream(CUstream stream)
{
    const struct thing *thing;
    int is_special = (uintptr_t)stream <= 2;

    pthread_mutex_lock(&lock);
    thing = holder_of(streams, (const char *)stream, 1);
    pthread_mutex_unlock(&lock);
    return is_special || thing ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}

static CUresult check_copy(const char *call, CUdeviceptr address, size_t size, CUstream stream)
{
    CUresult result = enter(call);
    const struct thing *thing;

    pthread_mutex_lock(&lock);
    thing = holder_of(allocations, (const char *)(uintptr_t)address, size);
    pthread_mutex_unlock(&lock);
    if (result == CUDA_SUCCESS && !thing)
        result = CUDA_ERROR_INVALID_VALUE;
    return result == CUDA_SUCCESS ? check_stream(stream) : result;
}

EXPORT CUresult cuMemcpyHtoDAsync(CUdeviceptr target, const void *source, size_t size, CUstream stream)
{
    CUresult result = check_copy("cuMemcpyHtoDAsync", target, size, stream);

    if (result == CUDA_SUCCESS)
        memcpy((void *)(uintptr_t)target, source, size);
    return result;
}

EXPORT CUresult cuMemcpyHtoD(CUdeviceptr target, const void *source, size_t size)
{
    CUresult result = check_copy("cuMemcpyHtoD", target, size, NULL);

    if (result == CUDA_SUCCESS)
        memcpy((void *)(uintptr_t)target, source, size);
    return result;
}

EXPORT CUresult cuMemcpyDtoDAsync(CUdeviceptr target, CUdeviceptr source, size_t size, CUstream stream)
{
    CUresult result = check_copy("cuMemcpyDtoDAsync", target, size, stream);

    if (result == CUDA_SUCCESS)
        result = check_copy("cuMemcpyDtoDAsync", source, size, stream);
    if (result == CUDA_SUCCESS)
        memcpy((void *)(uintptr_t)target, (const void *)(uintptr_t)source, size);
    return result;
}

EXPORT CUresult cuMemcpyDtoHAsync(void *target, CUdeviceptr source, size_t size, CUstream stream)
{
    CUresult result = check_copy("cuMemcpyDtoHAsync", source, size, stream);

    if (result == CUDA_SUCCESS)
        memcpy(target, (const void *)(uintptr_t)source, size);
    return result;
}

EXPORT CUresult cuStreamCreate(CUstream *stream, unsigned int flags)
{
    CUresult result = enter("cuStreamCreate");

    if (result == CUDA_SUCCESS)
        *stream = take(&streams, 1);
    return result;
}

EXPORT CUresult cuStreamDestroy(CUstream stream)
{
    return give(&streams, stream, enter("cuStreamDestroy"));
}

EXPORT CUresult cuStreamSynchronize(CUstream stream)
{
    CUresult result = enter("cuStreamSynchronize");

    return result == CUDA_SUCCESS ? check_stream(stream) : result;
}

/* ---- Events: a kernel has run when its launch returns ------------------------------------------------------------ */

struct CUevent_st {
    struct timespec moment;
};

EXPORT CUresult cuEventCreate(CUevent *event, unsigned int flags)
{
    CUresult result = enter("cuEventCreate");

    if (result == CUDA_SUCCESS)
        *event = take(&events, sizeof **event);
    return result;
}

EXPORT CUresult cuEventDestroy(CUevent event)
{
    return give(&events, event, enter("cuEventDestroy"));
}

EXPORT CUresult cuEventRecord(CUevent event, CUstream stream)
{
    CUresult result = enter("cuEventRecord");

    clock_gettime(CLOCK_MONOTONIC, &event->moment);
    return result == CUDA_SUCCESS ? check_stream(stream) : result;
}

EXPORT CUresult cuEventSynchronize(CUevent event)
{
    return enter("cuEventSynchronize");
}

/* Newer headers use a newer version of it, which does the same for events that were recorded. */
#undef cuEventElapsedTime
CUresult cuEventElapsedTime(float *milliseconds, CUevent begin, CUevent end);

EXPORT CUresult cuEventElapsedTime(float *milliseconds, CUevent begin, CUevent end)
{
    *milliseconds = (float)(1e3 * (double)(end->moment.tv_sec - begin->moment.tv_sec) +
                            1e-6 * (double)(end->moment.tv_nsec - begin->moment.tv_nsec));
    return enter("cuEventElapsedTime");
}

/* ---- Finding the functions --------------------------------------------------------------------------------------- */

EXPORT CUresult cuGetProcAddress(const char *symbol, void **function, int version, cuuint64_t flags,
                                 CUdriverProcAddressQueryResult *found)
{
    void *self = dlopen("libcuda.so.1", RTLD_NOW | RTLD_NOLOAD);
    int is_hidden = settings.hidden_symbol && !strcmp(settings.hidden_symbol, symbol);
    char newer[64];

    snprintf(newer, sizeof newer, "%s_v2", symbol);
    *function = is_hidden ? NULL : dlsym(self, newer);
    if (!*function && !is_hidden)
        *function = dlsym(self, symbol);
    dlclose(self);
    if (found)
        *found = *function ? CU_GET_PROC_ADDRESS_SUCCESS : CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND;
    return *function ? CUDA_SUCCESS : CUDA_ERROR_NOT_FOUND;
}
