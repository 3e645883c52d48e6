/* SPDX-License-Identifier: MIT */
#ifndef MGLU_BENCH_CUDA_GPU_H
#define MGLU_BENCH_CUDA_GPU_H

/**
 * @file
 * A GPU for timing: its primary context, current on the thread that opened it, and a stream with two events.
 * The driver is opened at run time.
 */

#include <cuda.h>
#include <cudaTypedefs.h>

#include <stdbool.h>

struct gpu_driver {
    PFN_cuInit_v2000 init;
    PFN_cuDeviceGetName_v2000 device_get_name;
    PFN_cuDevicePrimaryCtxRetain_v7000 primary_ctx_retain;
    PFN_cuDevicePrimaryCtxRelease_v11000 primary_ctx_release;
    PFN_cuCtxPushCurrent_v4000 ctx_push_current;
    PFN_cuCtxPopCurrent_v4000 ctx_pop_current;
    PFN_cuMemAlloc_v3020 mem_alloc;
    PFN_cuMemFree_v3020 mem_free;
    PFN_cuMemcpyHtoD_v3020 memcpy_htod;
    PFN_cuMemcpyDtoDAsync_v3020 memcpy_dtod_async;
    PFN_cuStreamCreate_v2000 stream_create;
    PFN_cuStreamDestroy_v4000 stream_destroy;
    PFN_cuEventCreate_v2000 event_create;
    PFN_cuEventDestroy_v4000 event_destroy;
    PFN_cuEventRecord_v2000 event_record;
    PFN_cuEventSynchronize_v2000 event_synchronize;
    PFN_cuEventElapsedTime_v2000 event_elapsed_time;
};

struct gpu {
    struct gpu_driver driver;
    CUdevice device;
    CUcontext context; /**< NULL: not open */
    CUstream stream;
    CUevent begin, end;
    char failure[256]; /**< why the last call failed */
};

/** Opens a device by its ordinal. On failure false, and the reason in gpu->failure. */
bool gpu_open(struct gpu *gpu, int ordinal);
void gpu_close(struct gpu *gpu);

/** Whether a call of the driver succeeded; if not, gpu->failure names it. */
bool gpu_succeed(struct gpu *gpu, CUresult result, const char *call);

/** Record an event before and after the timed calls. */
bool gpu_mark_begin(struct gpu *gpu);
bool gpu_mark_end(struct gpu *gpu);

/** Waits for the second event; seconds between the two, negative on failure. */
double gpu_seconds(struct gpu *gpu);

#endif
