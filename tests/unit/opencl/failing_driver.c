/* SPDX-License-Identifier: MIT */
#define CL_TARGET_OPENCL_VERSION 120
#include <CL/cl.h>

#include "failing_driver.h"

#include <dlfcn.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*
 * A libOpenCL.so.1 in front of the loader that MGLU_REAL_OPENCL names: it counts the calls and the objects, and makes a
 * call fail. For whole programs MGLU_FAILING_CALL=K, from 0 on, and MGLU_FAILURE, a code, choose which, and its name is
 * written to the file MGLU_FAILED_CALL_FILE.
 */
#define EXPORT __attribute__((visibility("default")))

static atomic_int calls_left = -1, code_of_failure, objects;
static char failed_call[48];

EXPORT void failing_break_at(int k, int code, int stays)
{
    failed_call[0] = '\0';
    code_of_failure = code;
    calls_left = k;
}

EXPORT void failing_heal(void)
{
    calls_left = -1;
}

EXPORT const char *failing_call(void)
{
    return failed_call;
}

EXPORT int failing_objects(void)
{
    return objects;
}

__attribute__((constructor)) static void begin(void)
{
    const char *call = getenv("MGLU_FAILING_CALL"), *code = getenv("MGLU_FAILURE");

    if (call && code)
        failing_break_at(atoi(call), atoi(code), 0);
}

static void *find(const char *name)
{
    static void *library;
    const char *path = getenv("MGLU_REAL_OPENCL");

    if (!library && path)
        library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    return library ? dlsym(library, name) : NULL;
}

static void note_failed(const char *name)
{
    const char *path = getenv("MGLU_FAILED_CALL_FILE");
    FILE *file = path ? fopen(path, "w") : NULL;

    snprintf(failed_call, sizeof failed_call, "%s", name);
    if (file) {
        fputs(name, file);
        fclose(file);
    }
}

/* Finds the real function and returns the code that the call must return before it has an effect. */
static cl_int enter(const char *name, void *real)
{
    void *found = find(name);

    memcpy(real, &found, sizeof found);
    if (!found)
        return CL_INVALID_OPERATION;
    if (calls_left < 0 || calls_left-- > 0)
        return CL_SUCCESS;
    note_failed(name);
    return code_of_failure;
}

/* It makes an event where it is asked for one. */
EXPORT cl_int CL_API_CALL clEnqueueReadBuffer(cl_command_queue queue, cl_mem buffer, cl_bool blocking, size_t offset,
                                              size_t size, void *to, cl_uint count, const cl_event *list,
                                              cl_event *event)
{
    __typeof__(clEnqueueReadBuffer) *real;
    cl_int code = enter("clEnqueueReadBuffer", &real);

    code = code == CL_SUCCESS ? real(queue, buffer, blocking, offset, size, to, count, list, event) : code;
    objects += code == CL_SUCCESS && event;
    return code;
}

/* A function that returns a code. */
#define PASS(name, parameters, arguments)                                                                              \
    EXPORT cl_int CL_API_CALL name parameters                                                                          \
    {                                                                                                                  \
        __typeof__(name) *real;                                                                                        \
        const cl_int code = enter(#name, &real);                                                                       \
        return code == CL_SUCCESS ? real arguments : code;                                                             \
    }

/* One that makes an object, or a reference to one, and returns a code. */
#define HOLD(name, parameters, arguments)                                                                              \
    EXPORT cl_int CL_API_CALL name parameters                                                                          \
    {                                                                                                                  \
        __typeof__(name) *real;                                                                                        \
        cl_int code = enter(#name, &real);                                                                             \
        code = code == CL_SUCCESS ? real arguments : code;                                                             \
        objects += code == CL_SUCCESS;                                                                                 \
        return code;                                                                                                   \
    }

/* One that releases an object: it does so whatever it reports. */
#define RELEASE(name, type)                                                                                            \
    EXPORT cl_int CL_API_CALL name(type object)                                                                        \
    {                                                                                                                  \
        __typeof__(name) *real;                                                                                        \
        const cl_int code = enter(#name, &real), released = real(object);                                              \
        objects -= released == CL_SUCCESS;                                                                             \
        return code == CL_SUCCESS ? released : code;                                                                   \
    }

/* One that returns an object, and a code through its last parameter. */
#define MAKE(name, type, parameters, arguments)                                                                        \
    EXPORT type CL_API_CALL name parameters                                                                            \
    {                                                                                                                  \
        __typeof__(name) *real;                                                                                        \
        type made;                                                                                                     \
        *code = enter(#name, &real);                                                                                   \
        made = *code == CL_SUCCESS ? real arguments : NULL;                                                            \
        objects += made != NULL;                                                                                       \
        return made;                                                                                                   \
    }

PASS(clGetPlatformIDs, (cl_uint room, cl_platform_id *ids, cl_uint *count), (room, ids, count))
PASS(clGetPlatformInfo, (cl_platform_id id, cl_platform_info what, size_t size, void *value, size_t *needed),
     (id, what, size, value, needed))
PASS(clGetDeviceIDs, (cl_platform_id id, cl_device_type type, cl_uint room, cl_device_id *ids, cl_uint *count),
     (id, type, room, ids, count))
PASS(clGetDeviceInfo, (cl_device_id id, cl_device_info what, size_t size, void *value, size_t *needed),
     (id, what, size, value, needed))
MAKE(clCreateContext, cl_context,
     (const cl_context_properties *properties, cl_uint count, const cl_device_id *ids,
      void(CL_CALLBACK *notify)(const char *, const void *, size_t, void *), void *user, cl_int *code),
     (properties, count, ids, notify, user, code))
HOLD(clRetainContext, (cl_context context), (context))
RELEASE(clReleaseContext, cl_context)
MAKE(clCreateCommandQueue, cl_command_queue,
     (cl_context context, cl_device_id id, cl_command_queue_properties properties, cl_int *code),
     (context, id, properties, code))
HOLD(clRetainCommandQueue, (cl_command_queue queue), (queue))
RELEASE(clReleaseCommandQueue, cl_command_queue)
PASS(clGetCommandQueueInfo,
     (cl_command_queue queue, cl_command_queue_info what, size_t size, void *value, size_t *needed),
     (queue, what, size, value, needed))
MAKE(clCreateBuffer, cl_mem, (cl_context context, cl_mem_flags flags, size_t size, void *from, cl_int *code),
     (context, flags, size, from, code))
PASS(clGetMemObjectInfo, (cl_mem buffer, cl_mem_info what, size_t size, void *value, size_t *needed),
     (buffer, what, size, value, needed))
RELEASE(clReleaseMemObject, cl_mem)
MAKE(clCreateProgramWithSource, cl_program,
     (cl_context context, cl_uint count, const char **texts, const size_t *lengths, cl_int *code),
     (context, count, texts, lengths, code))
MAKE(clCreateProgramWithBinary, cl_program,
     (cl_context context, cl_uint count, const cl_device_id *ids, const size_t *sizes, const unsigned char **binaries,
      cl_int *loaded, cl_int *code),
     (context, count, ids, sizes, binaries, loaded, code))
PASS(clBuildProgram,
     (cl_program program, cl_uint count, const cl_device_id *ids, const char *options,
      void(CL_CALLBACK *notify)(cl_program, void *), void *user),
     (program, count, ids, options, notify, user))
PASS(clGetProgramInfo, (cl_program program, cl_program_info what, size_t size, void *value, size_t *needed),
     (program, what, size, value, needed))
PASS(clGetProgramBuildInfo,
     (cl_program program, cl_device_id id, cl_program_build_info what, size_t size, void *value, size_t *needed),
     (program, id, what, size, value, needed))
RELEASE(clReleaseProgram, cl_program)
MAKE(clCreateKernel, cl_kernel, (cl_program program, const char *name, cl_int *code), (program, name, code))
RELEASE(clReleaseKernel, cl_kernel)
PASS(clSetKernelArg, (cl_kernel kernel, cl_uint index, size_t size, const void *value), (kernel, index, size, value))
PASS(clEnqueueNDRangeKernel,
     (cl_command_queue queue, cl_kernel kernel, cl_uint dimensions, const size_t *offset, const size_t *items,
      const size_t *group, cl_uint count, const cl_event *list, cl_event *event),
     (queue, kernel, dimensions, offset, items, group, count, list, event))
PASS(clEnqueueWriteBuffer,
     (cl_command_queue queue, cl_mem buffer, cl_bool blocking, size_t offset, size_t size, const void *from,
      cl_uint count, const cl_event *list, cl_event *event),
     (queue, buffer, blocking, offset, size, from, count, list, event))
HOLD(clEnqueueMarkerWithWaitList, (cl_command_queue queue, cl_uint count, const cl_event *list, cl_event *event),
     (queue, count, list, event))
PASS(clSetEventCallback,
     (cl_event event, cl_int state, void(CL_CALLBACK *notify)(cl_event, cl_int, void *), void *user),
     (event, state, notify, user))
PASS(clGetEventInfo, (cl_event event, cl_event_info what, size_t size, void *value, size_t *needed),
     (event, what, size, value, needed))
RELEASE(clReleaseEvent, cl_event)
PASS(clFlush, (cl_command_queue queue), (queue))
PASS(clFinish, (cl_command_queue queue), (queue))
