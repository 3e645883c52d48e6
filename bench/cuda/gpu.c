/* SPDX-License-Identifier: MIT */
#include "gpu.h"

#include <dlfcn.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

static const struct {
    const char *name;
    size_t offset; /* in struct gpu_driver */
} functions[] = {
    {"cuInit", offsetof(struct gpu_driver, init)},
    {"cuDeviceGetName", offsetof(struct gpu_driver, device_get_name)},
    {"cuDevicePrimaryCtxRetain", offsetof(struct gpu_driver, primary_ctx_retain)},
    {"cuDevicePrimaryCtxRelease_v2", offsetof(struct gpu_driver, primary_ctx_release)},
    {"cuCtxPushCurrent_v2", offsetof(struct gpu_driver, ctx_push_current)},
    {"cuCtxPopCurrent_v2", offsetof(struct gpu_driver, ctx_pop_current)},
    {"cuMemAlloc_v2", offsetof(struct gpu_driver, mem_alloc)},
    {"cuMemFree_v2", offsetof(struct gpu_driver, mem_free)},
    {"cuMemcpyHtoD_v2", offsetof(struct gpu_driver, memcpy_htod)},
    {"cuMemcpyDtoDAsync_v2", offsetof(struct gpu_driver, memcpy_dtod_async)},
    {"cuStreamCreate", offsetof(struct gpu_driver, stream_create)},
    {"cuStreamDestroy_v2", offsetof(struct gpu_driver, stream_destroy)},
    {"cuEventCreate", offsetof(struct gpu_driver, event_create)},
    {"cuEventDestroy_v2", offsetof(struct gpu_driver, event_destroy)},
    {"cuEventRecord", offsetof(struct gpu_driver, event_record)},
    {"cuEventSynchronize", offsetof(struct gpu_driver, event_synchronize)},
    {"cuEventElapsedTime", offsetof(struct gpu_driver, event_elapsed_time)},
};

static bool fail(struct gpu *gpu, const char *what, const char *why)
{
    snprintf(gpu->failure, sizeof gpu->failure, "%s %s", what, why);
    return false;
}

static bool open_driver(struct gpu *gpu)
{
    void *library = dlopen("libcuda.so.1", RTLD_NOW);

    if (!library)
        return fail(gpu, dlerror(), "");
    for (size_t i = 0; i < sizeof functions / sizeof functions[0]; i++) {
        void *address = dlsym(library, functions[i].name);

        if (!address)
            return fail(gpu, "libcuda.so.1 lacks", functions[i].name);
        memcpy((char *)&gpu->driver + functions[i].offset, &address, sizeof address);
    }
    return true;
}

bool gpu_succeed(struct gpu *gpu, CUresult result, const char *call)
{
    char code[48];

    snprintf(code, sizeof code, "fails with CUresult %d", (int)result);
    return result == CUDA_SUCCESS || fail(gpu, call, code);
}

static bool open_context(struct gpu *gpu)
{
    CUcontext context = NULL;

    if (!gpu_succeed(gpu, gpu->driver.init(0), "cuInit") ||
        !gpu_succeed(gpu, gpu->driver.primary_ctx_retain(&context, gpu->device), "cuDevicePrimaryCtxRetain"))
        return false;
    if (gpu_succeed(gpu, gpu->driver.ctx_push_current(context), "cuCtxPushCurrent")) {
        gpu->context = context;
        return true;
    }
    gpu->driver.primary_ctx_release(gpu->device);
    return false;
}

bool gpu_open(struct gpu *gpu, int ordinal)
{
    const struct gpu_driver *driver = &gpu->driver;

    /* The handle of a device is its ordinal. */
    *gpu = (struct gpu){.device = ordinal};
    if (open_driver(gpu) && open_context(gpu) &&
        gpu_succeed(gpu, driver->stream_create(&gpu->stream, CU_STREAM_NON_BLOCKING), "cuStreamCreate") &&
        gpu_succeed(gpu, driver->event_create(&gpu->begin, CU_EVENT_DEFAULT), "cuEventCreate") &&
        gpu_succeed(gpu, driver->event_create(&gpu->end, CU_EVENT_DEFAULT), "cuEventCreate"))
        return true;
    gpu_close(gpu);
    return false;
}

void gpu_close(struct gpu *gpu)
{
    CUcontext context;

    if (!gpu->context)
        return;
    if (gpu->end)
        gpu->driver.event_destroy(gpu->end);
    if (gpu->begin)
        gpu->driver.event_destroy(gpu->begin);
    if (gpu->stream)
        gpu->driver.stream_destroy(gpu->stream);
    gpu->driver.ctx_pop_current(&context);
    gpu->driver.primary_ctx_release(gpu->device);
    gpu->context = NULL;
}

bool gpu_mark_begin(struct gpu *gpu)
{
    return gpu_succeed(gpu, gpu->driver.event_record(gpu->begin, gpu->stream), "cuEventRecord");
}

bool gpu_mark_end(struct gpu *gpu)
{
    return gpu_succeed(gpu, gpu->driver.event_record(gpu->end, gpu->stream), "cuEventRecord");
}

double gpu_seconds(struct gpu *gpu)
{
    float milliseconds = 0;

    return gpu_succeed(gpu, gpu->driver.event_synchronize(gpu->end), "cuEventSynchronize") &&
                   gpu_succeed(gpu, gpu->driver.event_elapsed_time(&milliseconds, gpu->begin, gpu->end),
                               "cuEventElapsedTime")
               ? 1e-3 * (double)milliseconds
               : -1;
}
