/* SPDX-License-Identifier: MIT */
#ifndef MGLU_DEVICE_H
#define MGLU_DEVICE_H

#include <mglu/context.h>

MGLU_BEGIN_DECLS

/** A device, or an unavailable entry with the reason why a backend has none. Owned by its context: never destroyed by
 * the caller. */
typedef struct mglu_device mglu_device;

/** A device and the stream of work on it. Forward calls on one queue run in order; one thread at a time uses it. */
typedef struct mglu_queue mglu_queue;

typedef enum mglu_device_type {
    MGLU_DEVICE_CPU = 0,
    MGLU_DEVICE_GPU = 1,
    MGLU_DEVICE_ACCELERATOR = 2
} mglu_device_type;

/** Description of a device. Strings are valid as long as the context. */
typedef struct mglu_device_info {
    uint32_t struct_size;
    mglu_device_type type;
    const char *backend;   /**< name of the backend, as "cpu" */
    const char *name;      /**< name of the device, as its driver reports it */
    const char *reason;    /**< why it is unavailable; "" when it is available */
    const char *details;   /**< what was selected for it, as "isa=avx2 threads=2" */
    uint64_t memory_bytes; /**< memory available to weights; 0: unknown */
    int32_t available;     /**< nonzero: queues and weights can be made on it */
    int32_t host_memory;   /**< nonzero: x, y and the workspace are plain host pointers */
    /**
     * Names for mglu_context_desc.max_isa that this machine can run, from the least capable to the most, regardless of
     * the cap of the context; NULL-terminated. Empty for devices to which a cap does not apply.
     */
    const char *const *instruction_sets;
    int32_t works_after_fork; /**< nonzero: works in a forked child, see mglu_context */
} mglu_device_info;

/**
 * Number of devices in the list, unavailable ones included. The first call opens the vendors' drivers; a driver that
 * fails is listed as an unavailable device with the reason and is never an error here.
 */
MGLU_API MGLU_MUST_CHECK mglu_status mglu_device_count(mglu_context *context, size_t *count);

/** Device number `index` of the list; NULL out of range. The order is stable within a context. */
MGLU_API mglu_device *mglu_device_at(mglu_context *context, size_t index);

/** Fills `info`, whose struct_size the caller has set. */
MGLU_API MGLU_MUST_CHECK mglu_status mglu_device_get_info(const mglu_device *device, mglu_device_info *info);

/**
 * Selects a device.
 *
 * @param backend A backend's name; "auto" for the best available device: CUDA, then OpenCL GPUs, then the CPU backend,
 *        then OpenCL devices that are CPUs (never "ref"); NULL for MGLU_BACKEND if set, else "auto".
 * @return An error with the reason when a named backend has no available device; another backend is never substituted.
 */
MGLU_API MGLU_MUST_CHECK mglu_status mglu_device_pick(mglu_context *context, const char *backend, mglu_device **device);

/** Options of a new queue. Zeros are the defaults. */
typedef struct mglu_queue_desc {
    uint32_t struct_size;
    /** The caller's stream, of the type that the backend's header documents; NULL: the library makes one. */
    void *native_stream;
} mglu_queue_desc;

/** Makes a queue. @param desc NULL for all defaults. */
MGLU_API MGLU_MUST_CHECK mglu_status mglu_queue_create(mglu_device *device, const mglu_queue_desc *desc,
                                                       mglu_queue **queue);

/**
 * Waits until all work on the queue is done. Returns the first error of that work since the last wait, such as
 * MGLU_ERROR_BAD_ROUTING, and clears it; that of a lost device is returned again by every later wait.
 */
MGLU_API MGLU_MUST_CHECK mglu_status mglu_queue_wait(mglu_queue *queue);

/** Waits, then frees the queue and sets the handle to NULL; NULL is accepted. */
MGLU_API void mglu_queue_destroy(mglu_queue **queue);

/** Memory of a device, for workspaces and, where the host has no pointer of its own, for x and y. */
typedef struct mglu_memory mglu_memory;

/** Allocates `size` bytes, 64-byte aligned, contents unspecified. A size of 0 is legal: the data is then NULL. */
MGLU_API MGLU_MUST_CHECK mglu_status mglu_memory_create(mglu_device *device, size_t size, mglu_memory **memory);

/** The handle for mglu_input, mglu_output and mglu_forward_args: a host pointer, CUdeviceptr or cl_mem. */
MGLU_API void *mglu_memory_data(const mglu_memory *memory);
MGLU_API size_t mglu_memory_size(const mglu_memory *memory);

/** Copies from or to the host after all earlier work on the queue, and waits for it. */
MGLU_API MGLU_MUST_CHECK mglu_status mglu_memory_write(mglu_memory *memory, mglu_queue *queue, size_t offset,
                                                       const void *source, size_t size);
MGLU_API MGLU_MUST_CHECK mglu_status mglu_memory_read(const mglu_memory *memory, mglu_queue *queue, size_t offset,
                                                      void *target, size_t size);

/** Frees memory that no queued work uses any more and sets the handle to NULL; NULL is accepted. */
MGLU_API void mglu_memory_destroy(mglu_memory **memory);

MGLU_END_DECLS

#endif
