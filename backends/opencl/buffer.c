/* SPDX-License-Identifier: MIT */
#include "backends/opencl/opencl.h"

#include <stdio.h>

mglu_status mglu_opencl_buffer(struct mglu_opencl_device *device, size_t size, const void *from, cl_mem *buffer)
{
    const cl_mem_flags flags = CL_MEM_READ_WRITE | (from ? CL_MEM_COPY_HOST_PTR : 0);
    cl_int code = CL_SUCCESS;
    char what[64];

    *buffer = device->backend->cl.clCreateBuffer(device->context, flags, size, (void *)(uintptr_t)from, &code);
    if (code == CL_SUCCESS)
        return MGLU_OK;
    *buffer = NULL;
    snprintf(what, sizeof what, "making a buffer of %zu bytes", size);
    return mglu_opencl_fail(device, code, "clCreateBuffer", what);
}

void mglu_opencl_buffer_release(struct mglu_opencl_device *device, cl_mem buffer)
{
    if (buffer)
        device->backend->cl.clReleaseMemObject(buffer);
}
