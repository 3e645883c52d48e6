/* SPDX-License-Identifier: MIT */
#include "backends/cuda/driver.h"
#include "common/core/library.h"

#include <dlfcn.h>
#include <stdio.h>

#define DRIVER_LIBRARY "libcuda.so.1" /* the name without .1 is the toolkit's stub library, not a driver */
#define FIND_ENTRY     "cuGetProcAddress_v2"

/* An entry point: its name, and the version of its type. */
struct entry {
    const char *name;
    int version;
    int is_optional;
    size_t offset; /* in struct mglu_cuda_driver */
};

#define AT(member) offsetof(struct mglu_cuda_driver, member)

static const struct entry entries[] = {
    {"cuInit", 2000, 0, AT(init)},
    {"cuDriverGetVersion", 2020, 0, AT(driver_get_version)},
    {"cuGetErrorName", 6000, 0, AT(get_error_name)},
    {"cuDeviceGetCount", 2000, 0, AT(device_get_count)},
    {"cuDeviceGet", 2000, 0, AT(device_get)},
    {"cuDeviceGetName", 2000, 0, AT(device_get_name)},
    {"cuDeviceGetAttribute", 2000, 0, AT(device_get_attribute)},
    {"cuDeviceTotalMem", 3020, 0, AT(device_total_mem)},
    {"cuDevicePrimaryCtxRetain", 7000, 0, AT(primary_ctx_retain)},
    {"cuDevicePrimaryCtxRelease", 11000, 0, AT(primary_ctx_release)},
    {"cuCtxPushCurrent", 4000, 0, AT(ctx_push_current)},
    {"cuCtxPopCurrent", 4000, 0, AT(ctx_pop_current)},
    {"cuModuleLoadData", 2000, 0, AT(module_load_data)},
    {"cuModuleUnload", 2000, 0, AT(module_unload)},
    {"cuModuleGetFunction", 2000, 0, AT(module_get_function)},
    {"cuFuncGetAttribute", 2020, 0, AT(func_get_attribute)},
    {"cuFuncSetAttribute", 9000, 0, AT(func_set_attribute)},
    {"cuFuncLoad", 12040, 1, AT(func_load)},
    {"cuOccupancyMaxActiveBlocksPerMultiprocessor", 6050, 1, AT(occupancy)},
    {"cuMemAlloc", 3020, 0, AT(mem_alloc)},
    {"cuMemFree", 3020, 0, AT(mem_free)},
    {"cuMemHostAlloc", 2020, 0, AT(mem_host_alloc)},
    {"cuMemFreeHost", 2000, 0, AT(mem_free_host)},
    {"cuMemHostGetDevicePointer", 3020, 0, AT(mem_host_get_device_pointer)},
    {"cuPointerGetAttribute", 4000, 0, AT(pointer_get_attribute)},
    {"cuMemcpyHtoDAsync", 3020, 0, AT(memcpy_htod_async)},
    {"cuMemcpyDtoHAsync", 3020, 0, AT(memcpy_dtoh_async)},
    {"cuStreamCreate", 2000, 0, AT(stream_create)},
    {"cuStreamDestroy", 4000, 0, AT(stream_destroy)},
    {"cuStreamSynchronize", 2000, 0, AT(stream_synchronize)},
    {"cuStreamQuery", 2000, 0, AT(stream_query)},
    {"cuStreamIsCapturing", 10000, 0, AT(stream_is_capturing)},
    {"cuLaunchHostFunc", 10000, 0, AT(launch_host_func)},
    {"cuLaunchKernelEx", 11060, 0, AT(launch_kernel_ex)},
};

static mglu_status fail_too_old(const mglu_host *host, const char *missing)
{
    return host->fail(MGLU_ERROR_DRIVER_TOO_OLD,
                      DRIVER_LIBRARY " has no %s: the driver is older than CUDA %d.0, which this build needs", missing,
                      CUDA_VERSION / 1000);
}

mglu_status mglu_cuda_driver_open(const mglu_host *host, struct mglu_cuda_driver *driver)
{
    const char *reason;
    void *library = mglu_library_open(DRIVER_LIBRARY, &reason);
    PFN_cuGetProcAddress_v12000 find;

    if (!library)
        return host->fail(MGLU_ERROR_DRIVER_MISSING, "%s", reason);
    /* Casts from object to function pointers: undefined in ISO C, guaranteed by POSIX. */
    *(void **)&find = dlsym(library, FIND_ENTRY);
    if (!find)
        return fail_too_old(host, FIND_ENTRY);
    for (size_t i = 0; i < sizeof entries / sizeof entries[0]; i++) {
        CUdriverProcAddressQueryResult found;
        void *address = NULL;
        CUresult result = find(entries[i].name, &address, entries[i].version, CU_GET_PROC_ADDRESS_DEFAULT, &found);

        if ((result != CUDA_SUCCESS || !address) && !entries[i].is_optional)
            return fail_too_old(host, entries[i].name);
        *(void **)((char *)driver + entries[i].offset) = result == CUDA_SUCCESS ? address : NULL;
    }
    return MGLU_OK;
}

/* Driver results without an enumerator in older toolkits' headers. */
#define CONTAINED          ((CUresult)226)
#define TENSOR_MEMORY_LEAK ((CUresult)721)

int mglu_cuda_is_sticky(CUresult result)
{
    static const CUresult sticky[] = {
        CUDA_ERROR_DEVICE_UNAVAILABLE,    CUDA_ERROR_ECC_UNCORRECTABLE,    CUDA_ERROR_ILLEGAL_ADDRESS,
        CUDA_ERROR_LAUNCH_TIMEOUT,        CUDA_ERROR_CONTEXT_IS_DESTROYED, CUDA_ERROR_ASSERT,
        CUDA_ERROR_HARDWARE_STACK_ERROR,  CUDA_ERROR_ILLEGAL_INSTRUCTION,  CUDA_ERROR_MISALIGNED_ADDRESS,
        CUDA_ERROR_INVALID_ADDRESS_SPACE, CUDA_ERROR_INVALID_PC,           CUDA_ERROR_LAUNCH_FAILED,
        CUDA_ERROR_EXTERNAL_DEVICE,       CUDA_ERROR_DEINITIALIZED,        CUDA_ERROR_CONTAINED,
        CUDA_ERROR_TENSOR_MEMORY_LEAK,
    };

    for (size_t i = 0; i < sizeof sticky / sizeof sticky[0]; i++)
        if (result == sticky[i])
            return 1;
    return 0;
}

mglu_status mglu_cuda_status(CUresult result)
{
    if (result == CUDA_SUCCESS)
        return MGLU_OK;
    if (result == CUDA_ERROR_OUT_OF_MEMORY)
        return MGLU_ERROR_OUT_OF_MEMORY;
    return mglu_cuda_is_sticky(result) ? MGLU_ERROR_DEVICE_LOST : MGLU_ERROR_DEVICE;
}

void mglu_cuda_result_text(const struct mglu_cuda_driver *driver, CUresult result, char *text, size_t size)
{
    const char *name = NULL;

    if (driver->get_error_name(result, &name) != CUDA_SUCCESS || !name)
        name = "unknown error";
    snprintf(text, size, "%s (%d)", name, (int)result);
}
