/* SPDX-License-Identifier: MIT */
#ifndef MGLU_DEVICE_H
#define MGLU_DEVICE_H

#include <mglu/context.h>

MGLU_BEGIN_DECLS

/** A device, or a backend's statement why it has none. Borrowed from its context; never destroyed by the caller. */
typedef struct mglu_device mglu_device;

/** A device and the stream of work on it. Forward calls on one queue run in order; one thread at a time uses it. */
typedef struct mglu_queue mglu_queue;

typedef enum mglu_device_type {
    MGLU_DEVICE_CPU = 0,
    MGLU_DEVICE_GPU = 1,
    MGLU_DEVICE_ACCELERATOR = 2
} mglu_device_type;

/** What is known of a device. The texts live as long as the context. */
typedef struct mglu_device_info {
    uint32_t struct_size;
    mglu_device_type type;
    const char *backend;   /**< name of the backend, as "cpu" */
    const char *name;      /**< name of the device, as the vendor writes it */
    const char *reason;    /**< why it is unavailable; "" when it is available */
    const char *details;   /**< what was chosen for it, as "isa=avx2 threads=2" */
    uint64_t memory_bytes; /**< memory that weights can use; 0 when not known */
    int32_t available;     /**< nonzero: queues and weights can be made on it */
    int32_t host_memory;   /**< nonzero: x, y and the workspace are plain host pointers */
    /**
     * Names for mglu_context_desc.max_isa that this machine can run, from the least capable to the most, whatever the
     * cap of the context is; a NULL ends them. Of devices for which a cap has no meaning there are none.
     */
    const char *const *instruction_sets;
} mglu_device_info;

/**
 * Number of devices in the list, unavailable ones included. The first call opens the vendors' drivers; a driver that
 * fails becomes an unavailable device with its reason, never an error here.
 */
MGLU_API MGLU_MUST_CHECK mglu_status mglu_device_count(mglu_context *context, size_t *count);

/** Device number `index` of the list; NULL out of range. The order is stable within a context. */
MGLU_API mglu_device *mglu_device_at(mglu_context *context, size_t index);

/** Fills `info`, whose struct_size the caller has set. */
MGLU_API MGLU_MUST_CHECK mglu_status mglu_device_get_info(const mglu_device *device, mglu_device_info *info);

/**
 * Picks a device.
 *
 * @param backend A backend's name; "auto" for the best device there is: CUDA, then OpenCL GPUs, then the CPU backend,
 *        then OpenCL devices that are CPUs (never "ref"); NULL for what MGLU_BACKEND says, else "auto".
 * @return A named backend without an available device is an error that says why, never another device.
 */
MGLU_API MGLU_MUST_CHECK mglu_status mglu_device_pick(mglu_context *context, const char *backend, mglu_device **device);

/** How a queue is made. Zeros are the default. */
typedef struct mglu_queue_desc {
    uint32_t struct_size;
    /** The caller's stream (what it is, the backend's header says); NULL for one of the library's own. */
    void *native_stream;
} mglu_queue_desc;

/** Makes a queue. @param desc NULL for all defaults. */
MGLU_API MGLU_MUST_CHECK mglu_status mglu_queue_create(mglu_device *device, const mglu_queue_desc *desc,
                                                       mglu_queue **queue);

/**
 * Waits until all work on the queue is done. Returns the first error of that work since the last wait, such as
 * MGLU_ERROR_BAD_ROUTING, and clears it; a lost device stays lost.
 */
MGLU_API MGLU_MUST_CHECK mglu_status mglu_queue_wait(mglu_queue *queue);

/** Waits, then frees the queue and nulls the handle; NULL is accepted. */
MGLU_API void mglu_queue_destroy(mglu_queue **queue);

/** Memory of a device, for workspaces and, where the host has no pointer of its own, for x and y. */
typedef struct mglu_memory mglu_memory;

/** Allocates `size` bytes, 64-byte aligned, contents unspecified. A size of 0 is legal: the data is then NULL. */
MGLU_API MGLU_MUST_CHECK mglu_status mglu_memory_create(mglu_device *device, size_t size, mglu_memory **memory);

/** What goes into mglu_input, mglu_output and mglu_forward_args: a host pointer, CUdeviceptr or cl_mem. */
MGLU_API void *mglu_memory_data(const mglu_memory *memory);
MGLU_API size_t mglu_memory_size(const mglu_memory *memory);

/** Copies from or to the host after all earlier work on the queue, and waits for it. */
MGLU_API MGLU_MUST_CHECK mglu_status mglu_memory_write(mglu_memory *memory, mglu_queue *queue, size_t offset,
                                                       const void *source, size_t size);
MGLU_API MGLU_MUST_CHECK mglu_status mglu_memory_read(const mglu_memory *memory, mglu_queue *queue, size_t offset,
                                                      void *target, size_t size);

/** Frees memory that no queued work uses any more and nulls the handle; NULL is accepted. */
MGLU_API void mglu_memory_destroy(mglu_memory **memory);

MGLU_END_DECLS

#endif
