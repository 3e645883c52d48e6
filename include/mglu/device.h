/* SPDX-License-Identifier: MIT */
#ifndef MGLU_DEVICE_H
#define MGLU_DEVICE_H

/**
 * @file
 * Devices, queues of work on them, and their memory.
 */

#include <mglu/context.h>

MGLU_BEGIN_DECLS

/** A device, or an unavailable entry with the reason why a backend has none. Owned by its context: never destroyed by
 * the caller. */
typedef struct mglu_device mglu_device;

/**
 * A device and the stream of work on it. Forward calls on one queue run in order; one thread at a time uses it. Devices
 * with host memory compute and copy without one too.
 */
typedef struct mglu_queue mglu_queue;

/** What a device is, as its driver says. */
typedef enum MGLU_ENUM32(mglu_device_type) {
    MGLU_DEVICE_CPU = 0,
    MGLU_DEVICE_GPU = 1,
    MGLU_DEVICE_ACCELERATOR = 2
} mglu_device_type;

/** Description of a device. Strings are valid as long as the context. */
typedef struct mglu_device_info {
    uint32_t struct_size;  /**< sizeof(mglu_device_info) */
    mglu_device_type type; /**< what kind of processor it is */
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
#define MGLU_DEVICE_INFO_INIT MGLU_INIT(mglu_device_info) /**< its size, else zeros */

/**
 * Number of devices in the list, unavailable ones included. The first call opens the drivers of all vendors, which
 * takes time, memory and threads; who wants one backend calls mglu_device_pick() with its name. A driver that fails is
 * listed as an unavailable device with the reason and is never an error here.
 */
MGLU_API MGLU_MUST_CHECK mglu_status mglu_device_count(mglu_context *context, size_t *count);

/** Device number `index` of the list; NULL out of range. The order is stable within a context. */
MGLU_API mglu_device *mglu_device_at(mglu_context *context, size_t index);

/** Fills `info`, whose struct_size the caller has set. */
MGLU_API MGLU_MUST_CHECK mglu_status mglu_device_get_info(const mglu_device *device, mglu_device_info *info);

/**
 * Selects a device.
 *
 * @param backend One of these:
 *        - "auto", the best available device: CUDA, then OpenCL GPUs, then the CPU backend, then OpenCL devices that
 *          are CPUs (never "ref"). Opens all drivers.
 *        - "host", the best available device that takes host pointers (mglu_device_info.host_memory): the CPU backend,
 *          or a device with a higher rank of a backend that mglu_backend_load() has loaded. Opens no driver. OpenCL
 *          devices take no host pointers, CPUs neither.
 *        - A backend's name. Opens that backend alone: "cpu" opens no driver.
 *        - NULL: MGLU_BACKEND if set, which may be any of these, else "auto".
 * @return An error with the reason when a named backend has no available device; another backend is never substituted.
 */
MGLU_API MGLU_MUST_CHECK mglu_status mglu_device_pick(mglu_context *context, const char *backend, mglu_device **device);

/** Options of a new queue. Zeros are the defaults. */
typedef struct mglu_queue_desc {
    uint32_t struct_size; /**< sizeof(mglu_queue_desc) */
    /** The caller's stream, of the type that the backend's header documents; NULL: the library makes one. */
    void *native_stream;
    uint64_t destroy_ns; /**< longest wait of mglu_queue_destroy(), in nanoseconds; 0: ten seconds */
} mglu_queue_desc;
#define MGLU_QUEUE_DESC_INIT MGLU_INIT(mglu_queue_desc) /**< its size, else zeros */

/** Makes a queue. @param desc NULL for all defaults. */
MGLU_API MGLU_MUST_CHECK mglu_status mglu_queue_create(mglu_device *device, const mglu_queue_desc *desc,
                                                       mglu_queue **queue);

/**
 * Waits until all work on the queue is done. Returns the first error of that work since the last wait, such as
 * MGLU_ERROR_BAD_ROUTING, and clears it; that of a lost device is returned again by every later wait.
 */
MGLU_API MGLU_MUST_CHECK mglu_status mglu_queue_wait(mglu_queue *queue);

/** For mglu_queue_wait_for(): no limit. */
#define MGLU_WAIT_FOREVER UINT64_MAX

/**
 * Waits as mglu_queue_wait() does, but for at most `ns` nanoseconds; 0 asks and does not wait. It may return some
 * milliseconds late. Where forward returns after the work, as on CPUs, it is never late.
 *
 * @return MGLU_ERROR_TIMEOUT: the work is not done. Nothing has changed: it goes on and uses its memory, the queue
 *         takes more work, and a later wait reports its end. Calls that wait for the queue without a limit
 *         (mglu_queue_wait(), mglu_memory_write(), mglu_memory_read()) do not return before it is done.
 *         MGLU_ERROR_CANCELLED: the same, ended by mglu_queue_cancel_wait().
 *         MGLU_ERROR_UNSUPPORTED: the backend, one in a shared object, can only wait without a limit.
 */
MGLU_API MGLU_MUST_CHECK mglu_status mglu_queue_wait_for(mglu_queue *queue, uint64_t ns);

/**
 * Ends a wait from another thread, the one call that may be made while a thread uses the queue: the
 * mglu_queue_wait_for() that is in progress, or else the next one, returns MGLU_ERROR_CANCELLED, unless it finds the
 * work done. It does not end the work, nor an mglu_queue_wait(). NULL is accepted. The queue must not be destroyed
 * meanwhile.
 */
MGLU_API void mglu_queue_cancel_wait(mglu_queue *queue);

/** Called once. `status` is that of the work, as of mglu_queue_wait(). */
typedef void (*mglu_queue_callback)(void *user, mglu_status status);

/**
 * Calls `callback(user, status)` once, when all work is done that was enqueued on the queue before: at the latest where
 * a later wait for the queue returns. The status is not cleared by it: a wait returns it too.
 *
 * Who calls: where forward returns after the work, as on CPUs, this thread, before this call returns; else a thread of
 * the driver's at any moment from now on. Where the device is lost or the queue's work given up, the call that finds
 * it, a wait or mglu_queue_destroy(), with MGLU_ERROR_DEVICE_LOST. None is called after mglu_queue_destroy() has
 * returned.
 *
 * The driver's thread does nothing else meanwhile, and later work may wait: the callback should only tell another
 * thread, by a semaphore, a variable or a descriptor. It must not call this library, the driver, nor wait for a thread
 * that does. It must not end its thread, by pthread_exit() or an exception.
 *
 * @return Where it is not MGLU_OK, the callback is not called. MGLU_ERROR_UNSUPPORTED: the backend, one in a shared
 *         object, has no queue_notify. MGLU_ERROR_INVALID_ARGUMENT: CUDA captures the queue's stream, and a graph would
 *         call it at each replay.
 */
MGLU_API MGLU_MUST_CHECK mglu_status mglu_queue_notify(mglu_queue *queue, mglu_queue_callback callback, void *user);

/**
 * Waits for at most mglu_queue_desc.destroy_ns, then frees the queue and sets the handle to NULL; NULL is accepted.
 *
 * Work that is not done by then, as of a kernel that hangs, is given up: the log has a line at warn level, what the
 * work may still use is never freed, and the device is lost in this context: later calls on it give
 * MGLU_ERROR_DEVICE_LOST, and destroying its other objects neither waits nor, where that could wait for the work,
 * frees. (A backend that can only wait without a limit does so here too.)
 */
MGLU_API void mglu_queue_destroy(mglu_queue **queue);

/** Memory of a device, for workspaces and, where the host has no pointer of its own, for x and y. */
typedef struct mglu_memory mglu_memory;

/** Allocates `size` bytes, 64-byte aligned, contents unspecified. A size of 0 is legal: the data is then NULL. */
MGLU_API MGLU_MUST_CHECK mglu_status mglu_memory_create(mglu_device *device, size_t size, mglu_memory **memory);

/** The handle for mglu_input, mglu_output and mglu_forward_args: a host pointer, CUdeviceptr or cl_mem. */
MGLU_API void *mglu_memory_data(const mglu_memory *memory);

/** The size it was made with. */
MGLU_API size_t mglu_memory_size(const mglu_memory *memory);

/**
 * Copies from the host after all earlier work on the queue, and waits for it. Devices with host memory need no
 * queue: NULL.
 */
MGLU_API MGLU_MUST_CHECK mglu_status mglu_memory_write(mglu_memory *memory, mglu_queue *queue, size_t offset,
                                                       const void *source, size_t size);

/** As mglu_memory_write(), to the host. */
MGLU_API MGLU_MUST_CHECK mglu_status mglu_memory_read(const mglu_memory *memory, mglu_queue *queue, size_t offset,
                                                      void *target, size_t size);

/** Frees memory that no queued work uses any more and sets the handle to NULL; NULL is accepted. */
MGLU_API void mglu_memory_destroy(mglu_memory **memory);

MGLU_END_DECLS

#endif
