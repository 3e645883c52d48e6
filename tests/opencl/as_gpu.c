/* SPDX-License-Identifier: MIT */
#include "backends/builtin.h"
#include "backends/opencl/opencl.h"

#include <stdio.h>

/*
 * The OpenCL backend on devices that are presented as GPUs with small buffers: it tests the kernels for GPUs, and
 * matrices in many parts, on any machine with an OpenCL driver.
 */

enum { BUFFER_BYTES = 64 << 10 };

static cl_int(CL_API_CALL *real_get_info)(cl_device_id, cl_device_info, size_t, void *, size_t *);

static cl_int CL_API_CALL get_info(cl_device_id id, cl_device_info what, size_t size, void *value, size_t *needed)
{
    const cl_int code = real_get_info(id, what, size, value, needed);

    if (code == CL_SUCCESS && value && what == CL_DEVICE_TYPE)
        *(cl_device_type *)value = CL_DEVICE_TYPE_GPU;
    if (code == CL_SUCCESS && value && what == CL_DEVICE_MAX_MEM_ALLOC_SIZE)
        *(cl_ulong *)value = BUFFER_BYTES;
    return code;
}

static mglu_status open_as_gpu(const mglu_host *host, void **backend)
{
    struct mglu_opencl_driver driver;
    char reason[200];

    if (!mglu_opencl_driver_open(&driver, reason, sizeof reason))
        return mglu_opencl_open_with(host, NULL, reason, backend);
    real_get_info = driver.clGetDeviceInfo;
    driver.clGetDeviceInfo = get_info;
    return mglu_opencl_open_with(host, &driver, NULL, backend);
}

MGLU_API const mglu_backend_fns *mglu_backend_entry(uint32_t host_abi);

const mglu_backend_fns *mglu_backend_entry(uint32_t host_abi)
{
    static mglu_backend_fns fns;

    fns = mglu_fns_opencl;
    fns.name = "opencl-gpu";
    fns.open = open_as_gpu;
    return &fns;
}
