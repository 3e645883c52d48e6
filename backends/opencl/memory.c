/* SPDX-License-Identifier: MIT */
#include "backends/opencl/opencl.h"

mglu_status mglu_opencl_memory_allocate(void *backend, int32_t ordinal, size_t size, void **memory)
{
    struct mglu_opencl_backend *self = backend;
    const mglu_device_allocator *own = &self->host->device_allocator;
    struct mglu_opencl_device *device = &self->devices[ordinal];
    mglu_status status = mglu_opencl_device_start(device, NULL);
    cl_mem buffer;

    if (status != MGLU_OK)
        return status;
    if (own->allocate) {
        *memory = own->allocate(own->user, "opencl", ordinal, size, NULL);
        return *memory ? MGLU_OK
                       : self->host->fail(MGLU_ERROR_OUT_OF_MEMORY,
                                          "opencl: the host's allocator cannot allocate %zu bytes", size);
    }
    status = mglu_opencl_buffer(device, size, NULL, &buffer);
    *memory = buffer;
    return status;
}

void mglu_opencl_memory_release(void *backend, int32_t ordinal, void *memory, size_t size)
{
    struct mglu_opencl_backend *self = backend;
    const mglu_device_allocator *own = &self->host->device_allocator;

    if (own->release)
        own->release(own->user, "opencl", ordinal, memory, size, NULL);
    else
        self->cl.clReleaseMemObject(memory);
}

mglu_status mglu_opencl_memory_write(void *backend, void *queue, void *memory, size_t offset, const void *source,
                                     size_t size)
{
    struct mglu_opencl_queue *self = queue;
    mglu_status status = mglu_opencl_device_check(self->device);
    cl_int code;

    if (status != MGLU_OK)
        return status;
    code = self->device->backend->cl.clEnqueueWriteBuffer(self->commands, memory, CL_TRUE, offset, size, source, 0,
                                                          NULL, NULL);
    return code == CL_SUCCESS ? MGLU_OK
                              : mglu_opencl_fail(self->device, code, "clEnqueueWriteBuffer", "writing memory");
}

mglu_status mglu_opencl_memory_read(void *backend, void *queue, const void *memory, size_t offset, void *target,
                                    size_t size)
{
    struct mglu_opencl_queue *self = queue;
    mglu_status status = mglu_opencl_device_check(self->device);
    cl_int code;

    if (status != MGLU_OK)
        return status;
    code = self->device->backend->cl.clEnqueueReadBuffer(self->commands, (cl_mem)(uintptr_t)memory, CL_TRUE, offset,
                                                         size, target, 0, NULL, NULL);
    return code == CL_SUCCESS ? MGLU_OK : mglu_opencl_fail(self->device, code, "clEnqueueReadBuffer", "reading memory");
}
