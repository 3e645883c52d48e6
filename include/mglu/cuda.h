/* SPDX-License-Identifier: MIT */
#ifndef MGLU_CUDA_H
#define MGLU_CUDA_H

#include <mglu/mglu.h>

MGLU_BEGIN_DECLS

/**
 * @file
 * Use of the CUDA backend together with CUDA code of the caller's. Needs no CUDA header.
 *
 * The backend works in the primary context of a device, as cudaMalloc() and PyTorch do, and leaves the calling thread's
 * current context as it was. Addresses may come from any allocator of that context; the data of an mglu_memory is a
 * device address as well. Of an address that the queue has not had before, mglu_forward() asks the driver whether it
 * knows it, and refuses it otherwise: host memory must be pinned or managed, unless the device reads all memory of the
 * process. While the stream is captured nothing is asked.
 *
 * Else mglu_forward() only launches kernels: it may be captured into a graph, which then holds the addresses of x, y,
 * the workspace, the weights and the queue. All of these must stay valid and at the same address as long as the graph
 * is replayed; mglu_queue_wait() on the queue reports bad routing ids of replays too.
 *
 * While a stream is captured, only mglu_forward() and mglu_layer_destroy() may be called. Every other call that makes,
 * waits for or destroys an object of the device (queue, weights, layer, memory, context) waits, allocates, frees or
 * loads, which invalidates the capture: in the global mode from any thread, in the thread-local mode from the capturing
 * one, and in any mode where it waits for the captured stream. Memory of objects destroyed during a capture may stay
 * allocated until the process ends.
 */

/** CUstream and cudaStream_t are both pointers to this. */
struct CUstream_st;

/**
 * For mglu_queue_create(): a queue on the caller's stream, which must outlive the queue. NULL is the legacy default
 * stream; pass a NULL desc instead for a queue with a stream of its own.
 */
static inline mglu_queue_desc mglu_cuda_queue_desc(struct CUstream_st *stream)
{
    mglu_queue_desc desc = MGLU_QUEUE_DESC_INIT;

    desc.native_stream = stream ? stream : MGLU_CAST(void *, 0x1) /* CU_STREAM_LEGACY */;
    return desc;
}

/** A device address (CUdeviceptr, or a pointer from cudaMalloc()) as the data of an mglu_input, an mglu_output or a
 * workspace. */
static inline void *mglu_cuda_data(unsigned long long address)
{
    const uintptr_t bits = address;

    return MGLU_CAST(void *, bits);
}

/** The CUdeviceptr of memory made by mglu_memory_create(). */
static inline unsigned long long mglu_cuda_address(const mglu_memory *memory)
{
    return MGLU_CAST(uintptr_t, mglu_memory_data(memory));
}

MGLU_END_DECLS

#endif
