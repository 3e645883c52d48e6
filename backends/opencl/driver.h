/* SPDX-License-Identifier: MIT */
#ifndef MGLU_OPENCL_DRIVER_H
#define MGLU_OPENCL_DRIVER_H

/* The headers are used for types only: nothing is linked, and the loader is opened at run time. */
#define CL_TARGET_OPENCL_VERSION 120
#include <CL/cl.h>

#include <mglu/backend.h>

/* The OpenCL functions that the backend uses; none is newer than 1.2. */
#define MGLU_OPENCL_FUNCTIONS(FUNCTION)                                                                                \
    FUNCTION(clGetPlatformIDs)                                                                                         \
    FUNCTION(clGetPlatformInfo)                                                                                        \
    FUNCTION(clGetDeviceIDs)                                                                                           \
    FUNCTION(clGetDeviceInfo)                                                                                          \
    FUNCTION(clCreateContext)                                                                                          \
    FUNCTION(clRetainContext)                                                                                          \
    FUNCTION(clReleaseContext)                                                                                         \
    FUNCTION(clCreateCommandQueue)                                                                                     \
    FUNCTION(clRetainCommandQueue)                                                                                     \
    FUNCTION(clReleaseCommandQueue)                                                                                    \
    FUNCTION(clGetCommandQueueInfo)                                                                                    \
    FUNCTION(clCreateBuffer)                                                                                           \
    FUNCTION(clGetMemObjectInfo)                                                                                       \
    FUNCTION(clReleaseMemObject)                                                                                       \
    FUNCTION(clCreateProgramWithSource)                                                                                \
    FUNCTION(clCreateProgramWithBinary)                                                                                \
    FUNCTION(clBuildProgram)                                                                                           \
    FUNCTION(clGetProgramInfo)                                                                                         \
    FUNCTION(clGetProgramBuildInfo)                                                                                    \
    FUNCTION(clReleaseProgram)                                                                                         \
    FUNCTION(clCreateKernel)                                                                                           \
    FUNCTION(clReleaseKernel)                                                                                          \
    FUNCTION(clSetKernelArg)                                                                                           \
    FUNCTION(clEnqueueNDRangeKernel)                                                                                   \
    FUNCTION(clEnqueueReadBuffer)                                                                                      \
    FUNCTION(clEnqueueWriteBuffer)                                                                                     \
    FUNCTION(clEnqueueMarkerWithWaitList)                                                                              \
    FUNCTION(clGetEventInfo)                                                                                           \
    FUNCTION(clSetEventCallback)                                                                                       \
    FUNCTION(clReleaseEvent)                                                                                           \
    FUNCTION(clFlush)                                                                                                  \
    FUNCTION(clFinish)

/* The entry points. Tests substitute their own. */
struct mglu_opencl_driver {
#define MGLU_OPENCL_MEMBER(name) __typeof__(name) *name;
    MGLU_OPENCL_FUNCTIONS(MGLU_OPENCL_MEMBER)
#undef MGLU_OPENCL_MEMBER
};

/*
 * Opens libOpenCL.so.1 and resolves its entry points; on failure false, with the reason as text. The library is never
 * closed: its threads and exit handlers may outlive any context.
 */
int mglu_opencl_driver_open(struct mglu_opencl_driver *driver, char *reason, size_t size);

/* "CL_OUT_OF_RESOURCES (-5)". */
void mglu_opencl_code_text(cl_int code, char *text, size_t size);

/* The status for an OpenCL error code. */
mglu_status mglu_opencl_status(cl_int code);

#endif
