/* SPDX-License-Identifier: MIT */
#ifndef MGLU_CUDA_DRIVER_H
#define MGLU_CUDA_DRIVER_H

/* The toolkit's headers are used for types only: nothing is linked, and the driver is opened at run time. */
#include <cuda.h>
#include <cudaTypedefs.h>

#include <mglu/backend.h>

/* The driver's entry points, each of the version that its type names. */
struct mglu_cuda_driver {
    PFN_cuInit_v2000 init;
    PFN_cuDriverGetVersion_v2020 driver_get_version;
    PFN_cuGetErrorName_v6000 get_error_name;
    PFN_cuDeviceGetCount_v2000 device_get_count;
    PFN_cuDeviceGet_v2000 device_get;
    PFN_cuDeviceGetName_v2000 device_get_name;
    PFN_cuDeviceGetAttribute_v2000 device_get_attribute;
    PFN_cuDeviceTotalMem_v3020 device_total_mem;
    PFN_cuDevicePrimaryCtxRetain_v7000 primary_ctx_retain;
    PFN_cuDevicePrimaryCtxRelease_v11000 primary_ctx_release;
    PFN_cuCtxPushCurrent_v4000 ctx_push_current;
    PFN_cuCtxPopCurrent_v4000 ctx_pop_current;
    PFN_cuModuleLoadData_v2000 module_load_data;
    PFN_cuModuleUnload_v2000 module_unload;
    PFN_cuModuleGetFunction_v2000 module_get_function;
    PFN_cuFuncGetAttribute_v2020 func_get_attribute;
    PFN_cuFuncSetAttribute_v9000 func_set_attribute;
    PFN_cuFuncLoad_v12040 func_load;                                 /* NULL in drivers before 12.4 */
    PFN_cuOccupancyMaxActiveBlocksPerMultiprocessor_v6050 occupancy; /* for the log: may be NULL */
    PFN_cuMemAlloc_v3020 mem_alloc;
    PFN_cuMemFree_v3020 mem_free;
    PFN_cuMemHostAlloc_v2020 mem_host_alloc;
    PFN_cuMemFreeHost_v2000 mem_free_host;
    PFN_cuMemHostGetDevicePointer_v3020 mem_host_get_device_pointer;
    PFN_cuPointerGetAttribute_v4000 pointer_get_attribute;
    PFN_cuMemcpyHtoDAsync_v3020 memcpy_htod_async;
    PFN_cuMemcpyDtoHAsync_v3020 memcpy_dtoh_async;
    PFN_cuStreamCreate_v2000 stream_create;
    PFN_cuStreamDestroy_v4000 stream_destroy;
    PFN_cuStreamSynchronize_v2000 stream_synchronize;
    PFN_cuStreamQuery_v2000 stream_query;
    PFN_cuStreamIsCapturing_v10000 stream_is_capturing;
    PFN_cuLaunchHostFunc_v10000 launch_host_func;
    PFN_cuLaunchKernelEx_v11060 launch_kernel_ex;
};

/*
 * Opens libcuda.so.1 and resolves its entry points. The library is never closed: its threads and exit handlers may
 * outlive any context. A failure sets the text of mglu_last_error().
 */
mglu_status mglu_cuda_driver_open(const mglu_host *host, struct mglu_cuda_driver *driver);

/* The status for a driver result. */
mglu_status mglu_cuda_status(CUresult result);

/* Whether the process's context is unusable after this result. */
int mglu_cuda_is_sticky(CUresult result);

/* "CUDA_ERROR_LAUNCH_FAILED (719)". */
void mglu_cuda_result_text(const struct mglu_cuda_driver *driver, CUresult result, char *text, size_t size);

#endif
