/* SPDX-License-Identifier: MIT */
#include "fake_state.h"

#include <string.h>
#include <time.h>

/* ---- Memory and fake.streams
 * ------------------------------------------------------------------------------------------ */

EXPORT CUresult cuMemAlloc(CUdeviceptr *address, size_t size)
{
    CUresult result = fake_enter("cuMemAlloc");

    if (result == CUDA_SUCCESS && size == 0)
        result = CUDA_ERROR_INVALID_VALUE;
    if (result == CUDA_SUCCESS)
        *address = (CUdeviceptr)(uintptr_t)fake_take(&fake.allocations, size);
    return result;
}

EXPORT CUresult cuMemFree(CUdeviceptr address)
{
    return fake_give(&fake.allocations, (const void *)(uintptr_t)address,
                     fake_enter_to_wait("cuMemFree", FAKE_ALL_STREAMS));
}

EXPORT CUresult cuMemHostAlloc(void **memory, size_t size, unsigned int flags)
{
    CUresult result = fake_enter("cuMemHostAlloc");

    if (result == CUDA_SUCCESS)
        *memory = fake_take(&fake.host_allocations, size);
    return result;
}

EXPORT CUresult cuMemFreeHost(void *memory)
{
    return fake_give(&fake.host_allocations, memory, fake_enter_to_wait("cuMemFreeHost", FAKE_ALL_STREAMS));
}

EXPORT CUresult cuMemHostGetDevicePointer(CUdeviceptr *address, void *memory, unsigned int flags)
{
    *address = (CUdeviceptr)(uintptr_t)memory;
    return fake_enter("cuMemHostGetDevicePointer");
}

/* An address within an allocation of the driver's; others it does not know. */
EXPORT CUresult cuPointerGetAttribute(void *value, CUpointer_attribute attribute, CUdeviceptr address)
{
    const char *at = (const char *)(uintptr_t)address;
    CUresult result = fake_enter("cuPointerGetAttribute");
    CUmemorytype type = CU_MEMORYTYPE_DEVICE;
    int is_device, is_host;

    if (result != CUDA_SUCCESS)
        return result;
    pthread_mutex_lock(&fake.lock);
    is_device = fake_holder_of(fake.allocations, at, 0) != NULL;
    is_host = fake_holder_of(fake.host_allocations, at, 0) != NULL;
    pthread_mutex_unlock(&fake.lock);
    if (attribute != CU_POINTER_ATTRIBUTE_MEMORY_TYPE || (!is_device && !is_host))
        return CUDA_ERROR_INVALID_VALUE;
    type = is_device ? CU_MEMORYTYPE_DEVICE : CU_MEMORYTYPE_HOST;
    memcpy(value, &type, sizeof type);
    return CUDA_SUCCESS;
}

static CUresult check_stream(CUstream stream)
{
    const struct thing *thing;
    int is_special = (uintptr_t)stream <= 2;

    pthread_mutex_lock(&fake.lock);
    thing = fake_holder_of(fake.streams, (const char *)stream, 1);
    pthread_mutex_unlock(&fake.lock);
    return is_special || thing ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}

static CUresult check_copy(const char *call, CUdeviceptr address, size_t size, CUstream stream)
{
    CUresult result = fake_enter(call);
    const struct thing *thing;

    pthread_mutex_lock(&fake.lock);
    thing = fake_holder_of(fake.allocations, (const char *)(uintptr_t)address, size);
    pthread_mutex_unlock(&fake.lock);
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
    CUresult result = fake_enter("cuStreamCreate");

    if (result == CUDA_SUCCESS)
        *stream = fake_take(&fake.streams, 1);
    return result;
}

EXPORT CUresult cuStreamDestroy(CUstream stream)
{
    return fake_give(&fake.streams, stream, fake_enter("cuStreamDestroy"));
}

EXPORT CUresult cuStreamSynchronize(CUstream stream)
{
    CUresult result = fake_enter_to_wait("cuStreamSynchronize", stream);

    return result == CUDA_SUCCESS ? check_stream(stream) : result;
}

EXPORT CUresult cuStreamQuery(CUstream stream)
{
    CUresult result = fake_enter("cuStreamQuery");

    if (result == CUDA_SUCCESS)
        result = check_stream(stream);
    return result == CUDA_SUCCESS && fake_query(stream) ? CUDA_ERROR_NOT_READY : result;
}

EXPORT CUresult cuStreamIsCapturing(CUstream stream, CUstreamCaptureStatus *status)
{
    CUresult result = fake_enter("cuStreamIsCapturing");

    *status = fake.captured && fake.captured_stream == stream ? CU_STREAM_CAPTURE_STATUS_ACTIVE
                                                              : CU_STREAM_CAPTURE_STATUS_NONE;
    return result;
}

/* Work is done when its launch returns, unless the device hangs. */
EXPORT CUresult cuLaunchHostFunc(CUstream stream, CUhostFn function, void *user)
{
    CUresult result = fake_enter("cuLaunchHostFunc");

    if (result == CUDA_SUCCESS)
        result = check_stream(stream);
    if (result != CUDA_SUCCESS)
        return result;
    if (!fake.settings.is_hanging) {
        function(user);
        return CUDA_SUCCESS;
    }
    pthread_mutex_lock(&fake.lock);
    result = fake_keep_function(stream, function, user);
    pthread_mutex_unlock(&fake.lock);
    return result;
}

/* ---- Events: a kernel has run when its launch returns ------------------------------------------------------------ */

struct CUevent_st {
    struct timespec moment;
};

EXPORT CUresult cuEventCreate(CUevent *event, unsigned int flags)
{
    CUresult result = fake_enter("cuEventCreate");

    if (result == CUDA_SUCCESS)
        *event = fake_take(&fake.events, sizeof **event);
    return result;
}

EXPORT CUresult cuEventDestroy(CUevent event)
{
    return fake_give(&fake.events, event, fake_enter("cuEventDestroy"));
}

EXPORT CUresult cuEventRecord(CUevent event, CUstream stream)
{
    CUresult result = fake_enter("cuEventRecord");

    clock_gettime(CLOCK_MONOTONIC, &event->moment);
    return result == CUDA_SUCCESS ? check_stream(stream) : result;
}

EXPORT CUresult cuEventSynchronize(CUevent event)
{
    return fake_enter("cuEventSynchronize");
}

/* Newer headers use a newer version of it, which does the same for fake.events that were recorded. */
#undef cuEventElapsedTime
CUresult cuEventElapsedTime(float *milliseconds, CUevent begin, CUevent end);

EXPORT CUresult cuEventElapsedTime(float *milliseconds, CUevent begin, CUevent end)
{
    *milliseconds = (float)(1e3 * (double)(end->moment.tv_sec - begin->moment.tv_sec) +
                            1e-6 * (double)(end->moment.tv_nsec - begin->moment.tv_nsec));
    return fake_enter("cuEventElapsedTime");
}
