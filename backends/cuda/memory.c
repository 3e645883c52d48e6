/* SPDX-License-Identifier: MIT */
#include "backends/cuda/cuda_backend.h"

/* Device and host memory. */

#define DEVICE_ALIGNMENT ((uintptr_t)64)

void *mglu_cuda_allocate(const mglu_host *host, size_t size)
{
    return host->allocator.allocate(host->allocator.user, size, _Alignof(max_align_t));
}

void mglu_cuda_release(const mglu_host *host, void *memory, size_t size)
{
    host->allocator.release(host->allocator.user, memory, size, _Alignof(max_align_t));
}

static mglu_status take_from_host(struct mglu_cuda_device *device, size_t size, CUdeviceptr *memory)
{
    const mglu_host *host = device->backend->host;
    void *taken = host->device_allocator.allocate(host->device_allocator.user, "cuda", device->ordinal, size, NULL);

    if (!taken)
        return host->fail(MGLU_ERROR_OUT_OF_MEMORY, "cuda: the device allocator cannot allocate %zu bytes", size);
    if ((uintptr_t)taken % DEVICE_ALIGNMENT) {
        host->device_allocator.release(host->device_allocator.user, "cuda", device->ordinal, taken, size, NULL);
        return host->fail(MGLU_ERROR_INVALID_ARGUMENT,
                          "cuda: the device allocator's memory is not aligned to 64 bytes");
    }
    *memory = (CUdeviceptr)(uintptr_t)taken;
    return MGLU_OK;
}

/* Call between enter and leave. */
mglu_status mglu_cuda_memory_take(struct mglu_cuda_device *device, size_t size, CUdeviceptr *memory)
{
    if (device->backend->host->device_allocator.allocate)
        return take_from_host(device, size, memory);
    return mglu_cuda_check(device, device->backend->driver.mem_alloc(memory, size), "cuMemAlloc");
}

void mglu_cuda_memory_give(struct mglu_cuda_device *device, CUdeviceptr memory, size_t size)
{
    const mglu_host *host = device->backend->host;

    if (host->device_allocator.release)
        host->device_allocator.release(host->device_allocator.user, "cuda", device->ordinal, (void *)(uintptr_t)memory,
                                       size, NULL);
    else
        device->backend->driver.mem_free(memory);
}

mglu_status mglu_cuda_memory_allocate(void *backend, int32_t ordinal, size_t size, void **memory)
{
    struct mglu_cuda_device *device = &((struct mglu_cuda_backend *)backend)->devices[ordinal];
    mglu_status status = mglu_cuda_retain_and_enter(device);
    CUdeviceptr taken;

    if (status != MGLU_OK)
        return status;
    status = mglu_cuda_leave(device, mglu_cuda_memory_take(device, size, &taken));
    if (status == MGLU_OK)
        *memory = (void *)(uintptr_t)taken;
    return status;
}

void mglu_cuda_memory_release(void *backend, int32_t ordinal, void *memory, size_t size)
{
    struct mglu_cuda_device *device = &((struct mglu_cuda_backend *)backend)->devices[ordinal];

    if (!mglu_cuda_enter_to_free(device))
        return;
    mglu_cuda_memory_give(device, (CUdeviceptr)(uintptr_t)memory, size);
    mglu_cuda_leave_context(device);
}

/* Ends a copy between enter and leave: the caller's array must be free for use when it returns. */
static mglu_status finish_copy(struct mglu_cuda_queue *queue, CUresult result, const char *call)
{
    mglu_status status = mglu_cuda_check(queue->device, result, call);

    if (status == MGLU_OK)
        status = mglu_cuda_check(queue->device, queue->device->backend->driver.stream_synchronize(queue->stream),
                                 "cuStreamSynchronize");
    return mglu_cuda_leave(queue->device, status);
}

mglu_status mglu_cuda_memory_write(void *backend, void *queue, void *memory, size_t offset, const void *source,
                                   size_t size)
{
    const struct mglu_cuda_driver *driver = &((const struct mglu_cuda_backend *)backend)->driver;
    struct mglu_cuda_queue *on = queue;
    mglu_status status = mglu_cuda_enter(on->device);

    if (status != MGLU_OK)
        return status;
    return finish_copy(on,
                       driver->memcpy_htod_async((CUdeviceptr)((uintptr_t)memory + offset), source, size, on->stream),
                       "cuMemcpyHtoDAsync");
}

mglu_status mglu_cuda_memory_read(void *backend, void *queue, const void *memory, size_t offset, void *target,
                                  size_t size)
{
    const struct mglu_cuda_driver *driver = &((const struct mglu_cuda_backend *)backend)->driver;
    struct mglu_cuda_queue *on = queue;
    mglu_status status = mglu_cuda_enter(on->device);

    if (status != MGLU_OK)
        return status;
    return finish_copy(on,
                       driver->memcpy_dtoh_async(target, (CUdeviceptr)((uintptr_t)memory + offset), size, on->stream),
                       "cuMemcpyDtoHAsync");
}
