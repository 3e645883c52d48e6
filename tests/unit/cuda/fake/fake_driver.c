/* SPDX-License-Identifier: MIT */
#include "fake_state.h"

#include "../shim/shim.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SHARED_BYTES = 48 << 10, MOST_GRID_Y = 65535 };

struct CUfunc_st {
    CUmodule module; /* frees it */
    char symbol[64];
    unsigned int shared_bytes; /* dynamic, that a launch may ask for */
};

static CUcontext context_of(CUdevice device)
{
    return (CUcontext)(uintptr_t)(0x1000 + device);
}

/* ---- Devices and contexts ---------------------------------------------------------------------------------------- */

EXPORT CUresult cuInit(unsigned int flags)
{
    return fake_begin_process() ? fake_enter("cuInit") : CUDA_ERROR_NOT_INITIALIZED;
}

EXPORT CUresult cuDriverGetVersion(int *version)
{
    *version = fake.settings.driver_version;
    return fake_enter("cuDriverGetVersion");
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
    *count = fake.settings.device_count;
    return fake_enter("cuDeviceGetCount");
}

EXPORT CUresult cuDeviceGet(CUdevice *device, int ordinal)
{
    *device = ordinal;
    return ordinal < fake.settings.device_count ? fake_enter("cuDeviceGet") : CUDA_ERROR_INVALID_DEVICE;
}

EXPORT CUresult cuDeviceGetName(char *name, int length, CUdevice device)
{
    snprintf(name, (size_t)length, "Imaginary GPU");
    return fake_enter("cuDeviceGetName");
}

EXPORT CUresult cuDeviceTotalMem(size_t *bytes, CUdevice device)
{
    *bytes = (size_t)1 << 34;
    return fake_enter("cuDeviceTotalMem");
}

static int shared_of_multiprocessor(void)
{
    return (fake.settings.architecture / 10 == 9 || fake.settings.architecture / 10 == 10 ? 228 : 100) << 10;
}

EXPORT CUresult cuDeviceGetAttribute(int *value, CUdevice_attribute attribute, CUdevice device)
{
    if (attribute == CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)
        *value = fake.settings.architecture / 10;
    else if (attribute == CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)
        *value = fake.settings.architecture % 10;
    else if (attribute == CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)
        *value = fake.settings.multiprocessors;
    else if (attribute == CU_DEVICE_ATTRIBUTE_PAGEABLE_MEMORY_ACCESS)
        *value = fake.settings.reads_host_memory;
    else if (attribute == CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR)
        *value = shared_of_multiprocessor();
    else
        return CUDA_ERROR_INVALID_VALUE;
    return fake_enter("cuDeviceGetAttribute");
}

EXPORT CUresult cuDevicePrimaryCtxRetain(CUcontext *context, CUdevice device)
{
    CUresult result = fake_enter("cuDevicePrimaryCtxRetain");

    if (result != CUDA_SUCCESS)
        return result;
    fake.contexts_retained[device]++;
    *context = context_of(device);
    return CUDA_SUCCESS;
}

EXPORT CUresult cuDevicePrimaryCtxRelease(CUdevice device)
{
    CUresult result = fake_enter_to_wait("cuDevicePrimaryCtxRelease", FAKE_ALL_STREAMS);

    if (fake.contexts_retained[device] > 0)
        fake.contexts_retained[device]--;
    return result;
}

EXPORT CUresult cuCtxPushCurrent(CUcontext context)
{
    CUresult result = fake_enter("cuCtxPushCurrent");

    if (result == CUDA_SUCCESS)
        fake_stack[fake_depth++] = context;
    return result;
}

EXPORT CUresult cuCtxPopCurrent(CUcontext *context)
{
    CUresult result = fake_enter("cuCtxPopCurrent");

    if (fake_depth == 0)
        return CUDA_ERROR_INVALID_CONTEXT;
    *context = fake_stack[--fake_depth];
    return result;
}

EXPORT CUresult cuCtxGetCurrent(CUcontext *context)
{
    *context = fake_depth ? fake_stack[fake_depth - 1] : NULL;
    return CUDA_SUCCESS;
}

/* ---- Kernels ----------------------------------------------------------------------------------------------------- */

EXPORT CUresult cuModuleLoadData(CUmodule *module, const void *image)
{
    static const unsigned char fatbin[] = {0x50, 0xed, 0x55, 0xba};
    CUresult result = fake_enter("cuModuleLoadData");

    if (result != CUDA_SUCCESS)
        return result;
    if (memcmp(image, fatbin, sizeof fatbin) != 0)
        return CUDA_ERROR_INVALID_IMAGE;
    *module = fake_take(&fake.modules, 1);
    return CUDA_SUCCESS;
}

static CUfunction any_function_of(CUmodule module)
{
    struct thing *thing;

    pthread_mutex_lock(&fake.lock);
    thing = fake.functions;
    while (thing && ((CUfunction)(void *)thing->data)->module != module)
        thing = thing->next;
    pthread_mutex_unlock(&fake.lock);
    return thing ? (CUfunction)(void *)thing->data : NULL;
}

EXPORT CUresult cuModuleUnload(CUmodule module)
{
    CUfunction function;

    while ((function = any_function_of(module)))
        fake_give(&fake.functions, function, CUDA_SUCCESS);
    return fake_give(&fake.modules, module, fake_enter_to_wait("cuModuleUnload", FAKE_ALL_STREAMS));
}

EXPORT CUresult cuModuleGetFunction(CUfunction *function, CUmodule module, const char *symbol)
{
    CUresult result = fake_enter("cuModuleGetFunction");

    if (result != CUDA_SUCCESS)
        return result;
    if (!mglu_shim_has(symbol))
        return CUDA_ERROR_NOT_FOUND;
    *function = fake_take(&fake.functions, sizeof **function);
    (*function)->module = module;
    snprintf((*function)->symbol, sizeof(*function)->symbol, "%s", symbol);
    (*function)->shared_bytes = SHARED_BYTES;
    return CUDA_SUCCESS;
}

EXPORT CUresult cuFuncLoad(CUfunction function)
{
    return fake_enter("cuFuncLoad");
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
    *value = attribute == CU_FUNC_ATTRIBUTE_PTX_VERSION ? fake.settings.written_for
             : attribute == CU_FUNC_ATTRIBUTE_NUM_REGS  ? FAKE_REGISTERS
                                                        : most_threads(function->symbol);
    return fake_enter("cuFuncGetAttribute");
}

/* A block of threads gets what its multiprocessor has but 1 KiB. */
EXPORT CUresult cuFuncSetAttribute(CUfunction function, CUfunction_attribute attribute, int value)
{
    CUresult result = fake_enter("cuFuncSetAttribute");

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
    return fake_enter("cuOccupancyMaxActiveBlocksPerMultiprocessor");
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

static CUresult launch_now(const struct fake_launch *launch, const void *argument)
{
    if (fake.captured && launch->stream != fake.captured_stream)
        return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    if (fake.captured || fake.settings.is_hanging)
        return fake_keep(fake.captured ? fake.captured : &fake.waiting, launch, argument);
    fake_run(launch, argument);
    return CUDA_SUCCESS;
}

EXPORT CUresult cuLaunchKernelEx(const CUlaunchConfig *config, CUfunction function, void **arguments, void **extra)
{
    CUresult result = fake_enter("cuLaunchKernelEx");
    struct fake_launch launch;

    if (result != CUDA_SUCCESS)
        return result;
    if (!is_possible(config, function))
        return CUDA_ERROR_INVALID_VALUE;
    launch = describe(config, function);
    pthread_mutex_lock(&fake.lock);
    result = launch_now(&launch, arguments[0]);
    pthread_mutex_unlock(&fake.lock);
    return result;
}

/* ---- Graphs ------------------------------------------------------------------------------------------------------ */

EXPORT CUresult cuStreamBeginCapture(CUstream stream, CUstreamCaptureMode mode)
{
    fake.captured = calloc(1, sizeof *fake.captured);
    fake.captured_stream = stream;
    fake.capture_is_spoilt = 0;
    return CUDA_SUCCESS;
}

EXPORT CUresult cuStreamEndCapture(CUstream stream, CUgraph *graph)
{
    *graph = fake.capture_is_spoilt ? NULL : fake.captured;
    if (fake.capture_is_spoilt)
        free(fake.captured);
    fake.captured = NULL;
    return fake.capture_is_spoilt ? CUDA_ERROR_STREAM_CAPTURE_INVALIDATED : CUDA_SUCCESS;
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

    pthread_mutex_lock(&fake.lock);
    for (int i = 0; i < graph->count; i++)
        fake_run(&graph->nodes[i].launch, &graph->nodes[i].argument);
    pthread_mutex_unlock(&fake.lock);
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

/* ---- Finding the functions --------------------------------------------------------------------------------------- */

EXPORT CUresult cuGetProcAddress(const char *symbol, void **function, int version, cuuint64_t flags,
                                 CUdriverProcAddressQueryResult *found)
{
    void *self = dlopen("libcuda.so.1", RTLD_NOW | RTLD_NOLOAD);
    int is_hidden = fake.settings.hidden_symbol && !strcmp(fake.settings.hidden_symbol, symbol);
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
