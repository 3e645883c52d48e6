/* SPDX-License-Identifier: MIT */
#ifndef MGLU_OPENCL_H
#define MGLU_OPENCL_H

#include <mglu/device.h>
#include <mglu/layer.h>

#ifndef CL_TARGET_OPENCL_VERSION
/** The newest version whose functions mglu needs; one that the application has set is kept. */
#define CL_TARGET_OPENCL_VERSION 120
#endif
#include <CL/cl.h>

MGLU_BEGIN_DECLS

/**
 * @file
 * Use of the OpenCL backend ("opencl") together with OpenCL code of the caller's. Needs the Khronos headers, but not
 * the loader: mglu opens libOpenCL.so.1 at run time.
 *
 * Memory: `data` of mglu_input and mglu_output and the `workspace` are cl_mem handles; mglu_memory_data() is one too.
 * Inputs must be readable and y and the workspace writable by kernels. A forward refuses handles that it can tell to be
 * no buffers of the context, as host pointers, and buffers that are too small: docs/opencl.md, "Buffers".
 *
 * Context: all objects of a device belong to one cl_context, that of the first mglu_queue made on a cl_command_queue of
 * the caller's. Make that queue first: once weights, memory or another queue were made, the library has created a
 * context of its own, and a queue of any other context gives MGLU_ERROR_INVALID_ARGUMENT.
 */

/**
 * A queue of the caller's, whose own commands mglu_queue_wait() waits for too, and mglu_queue_wait_for() only where
 * they precede a forward: the `native_stream` of mglu_queue_desc points to one. mglu stores the address until the
 * mglu_queue is destroyed, and reads `wait_count`, `wait_list` and `event` at each mglu_forward(), so that they may
 * change between calls.
 */
typedef struct mglu_opencl_stream {
    uint32_t struct_size;      /**< sizeof(mglu_opencl_stream) */
    cl_uint wait_count;        /**< events that a forward waits for before it starts */
    cl_command_queue queue;    /**< in order, on the device that the mglu_queue is made for; retained */
    const cl_event *wait_list; /**< NULL exactly when wait_count is 0 */
    cl_event *event;           /**< out, not NULL: the forward's last command; the caller releases it */
} mglu_opencl_stream;
#define MGLU_OPENCL_STREAM_INIT MGLU_INIT(mglu_opencl_stream) /**< its size, else zeros */

/** Makes an mglu_queue on a queue of the caller's. `stream` must outlive it. */
static inline mglu_status mglu_opencl_share_queue(mglu_device *device, const mglu_opencl_stream *stream,
                                                  mglu_queue **queue)
{
    mglu_queue_desc desc = MGLU_QUEUE_DESC_INIT;

    desc.native_stream = MGLU_CAST(void *, MGLU_CAST(uintptr_t, stream));
    return mglu_queue_create(device, &desc, queue);
}

/** Rows in a buffer of the caller's; `row_stride` is in elements. */
static inline mglu_input mglu_opencl_input(cl_mem buffer, size_t byte_offset, int64_t row_stride)
{
    const mglu_input input = {buffer, byte_offset, row_stride};
    return input;
}

static inline mglu_output mglu_opencl_output(cl_mem buffer, size_t byte_offset, int64_t row_stride)
{
    const mglu_output output = {buffer, byte_offset, row_stride};
    return output;
}

/** The buffer of mglu_memory. */
static inline cl_mem mglu_opencl_memory_buffer(const mglu_memory *memory)
{
    return MGLU_CAST(cl_mem, mglu_memory_data(memory));
}

MGLU_END_DECLS

#endif
