/* SPDX-License-Identifier: MIT */
#ifndef MGLU_CUDA_BACKEND_H
#define MGLU_CUDA_BACKEND_H

/* The CUDA backend: host code on the driver API. The kernels are in kernels/, compiled ahead of time. */

#include "backends/cuda/driver.h"
#include "backends/cuda/kernels/params.h"
#include "backends/cuda/kernels/ring_plan.h"
#include "backends/cuda/select.h"
#include "common/core/notify.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/types.h>

struct mglu_cuda_backend;

struct mglu_cuda_device {
    struct mglu_cuda_backend *backend;
    int32_t ordinal;
    CUdevice handle;
    int32_t architecture; /* 90 for sm_90 */
    uint32_t multiprocessors;
    int reads_host_memory; /* any that is of the process, whoever allocated it */
    uint64_t memory_bytes;
    struct mglu_cuda_ring_device ring; /* all zero where this build has no kernels of the ring for the device */
    char name[128];
    char reason[320]; /* why it is unavailable, or empty */
    char details[96];
    atomic_int lost;        /* the CUresult that ended the context, or 0 */
    atomic_int is_given_up; /* a queue was destroyed before its work was done */
    pthread_mutex_t lock;
    CUcontext context;                   /* the primary context; NULL before the first use; guarded by the lock */
    CUmodule modules[MGLU_CUDA_MODULES]; /* guarded by the lock */
};

struct mglu_cuda_backend {
    const mglu_host *host;
    struct mglu_cuda_driver driver;
    pid_t process; /* the process that opened the backend: the driver does not work in its children */
    struct mglu_cuda_forced forced;
    int32_t count;
    struct mglu_cuda_device devices[]; /* at least one; an unavailable one where the machine has none */
};

enum { MGLU_CUDA_KNOWN = 16 }; /* addresses that a queue remembers */

struct mglu_cuda_queue {
    struct mglu_cuda_device *device;
    CUstream stream;
    int owns_stream;
    int32_t *bad_routing; /* pinned host memory that kernels write to */
    CUdeviceptr bad_routing_address;
    struct mglu_notifications notifications;
    const void *known[MGLU_CUDA_KNOWN]; /* that the driver knew, for forwards */
    int next_known;
};

/* A matrix in device memory, in the layout of kernels/tile_layout.h. */
struct mglu_cuda_tiles {
    CUdeviceptr address;
    uint32_t rows, columns;
    uint32_t block_bytes;
    int has_infinite; /* determined for masked f16 and bf16 only */
};

struct mglu_cuda_weights {
    struct mglu_cuda_device *device;
    mglu_packed_weights shape; /* sizes and presence; its array pointers are invalid */
    CUdeviceptr memory;
    size_t size;
    struct mglu_cuda_tiles projection; /* with the masks; plain: both matrices */
    struct mglu_cuda_tiles down;
    CUdeviceptr gate_bias, value_bias, down_bias, router; /* f32; 0: absent */
    int64_t router_stride;                                /* elements */
};

/* A kernel on the device. */
struct mglu_cuda_function {
    CUfunction handle; /* NULL: not found yet */
    int registers;     /* per thread */
    int waits;         /* waits for the previous launch, so that it may begin before that has ended */
};

/* A kernel ready to launch. */
struct mglu_cuda_kernel {
    struct mglu_cuda_function function;
    struct mglu_cuda_variant variant;
    uint32_t warps;
    struct mglu_cuda_ring_plan ring; /* of the ring only */
};

/* The workspace of a forward. */
struct mglu_cuda_workspace {
    int64_t chunk_tokens; /* per round of launches, which bounds it */
    int64_t z_stride;     /* elements */
    size_t ids_offset, p_offset, z_offset, size;
};

struct mglu_cuda_layer {
    struct mglu_cuda_device *device;
    const struct mglu_cuda_weights *weights;
    mglu_layer_desc desc;
    int32_t terms; /* summed per token: n_m, top_k, or 1 when plain */
    struct mglu_cuda_selection selection;
    struct mglu_cuda_kernel project[MGLU_CUDA_ENGINES]; /* no function: not used by this layer */
    struct mglu_cuda_kernel down;
    struct mglu_cuda_function route;
};

/* device.c */
mglu_status mglu_cuda_open(const mglu_host *host, void **backend);
void mglu_cuda_close(void *backend);
int32_t mglu_cuda_device_count(void *backend);
mglu_status mglu_cuda_device_info(void *backend, int32_t ordinal, mglu_backend_device *info);

/* queue.c */
mglu_status mglu_cuda_queue_create(void *backend, int32_t ordinal, const mglu_queue_desc *desc, void **queue);
mglu_status mglu_cuda_queue_wait(void *backend, void *queue);
mglu_status mglu_cuda_queue_poll(void *backend, void *queue);
mglu_status mglu_cuda_queue_notify(void *backend, void *queue, mglu_queue_callback callback, void *user);
void mglu_cuda_queue_destroy(void *backend, void *queue);

/* context.c */
/*
 * Every driver call is made between enter and leave, which push the device's primary context onto the calling thread's
 * context stack and pop it, so that the caller's current context is unchanged. `retain` creates the context if there is
 * none yet. Enter fails in a forked child and once the context is unusable; call leave only after it succeeded. Leave
 * returns `status`.
 */
mglu_status mglu_cuda_retain_and_enter(struct mglu_cuda_device *device);
mglu_status mglu_cuda_enter(struct mglu_cuda_device *device);
mglu_status mglu_cuda_leave(struct mglu_cuda_device *device, mglu_status status);
/* For destructors: 0 where the driver must not be called. */
int mglu_cuda_enter_to_free(struct mglu_cuda_device *device);
void mglu_cuda_leave_context(struct mglu_cuda_device *device);
/* MGLU_OK for CUDA_SUCCESS; else a status whose text has the call and the driver's error. Records a lost device. */
mglu_status mglu_cuda_check(struct mglu_cuda_device *device, CUresult result, const char *call);
/* For a queue whose work is not done when it is destroyed: from now on the driver is not called for this device, since
 * it would wait for that work, and what was allocated stays. */
void mglu_cuda_give_up(struct mglu_cuda_device *device);
/* Releases the context at close. */
void mglu_cuda_release_context(struct mglu_cuda_device *device);

/* module.c */
/* Whether a device of this architecture can run any of the kernels of this build. */
int mglu_cuda_is_built_for(int32_t architecture);
const char *mglu_cuda_built_architectures(void);
/* Whether it can run those of the ring. */
int mglu_cuda_is_ring_built_for(int32_t architecture);
/* Finds a kernel of `threads` threads and loads it now rather than at its first launch. */
mglu_status mglu_cuda_find_function(struct mglu_cuda_device *device, enum mglu_cuda_module module, const char *symbol,
                                    uint32_t threads, struct mglu_cuda_function *function);
/* Allows a kernel more dynamic shared memory than the 48 KiB that any launch may have. */
mglu_status mglu_cuda_allow_shared(struct mglu_cuda_device *device, const struct mglu_cuda_function *function,
                                   uint32_t bytes);

/* memory.c */
mglu_status mglu_cuda_memory_take(struct mglu_cuda_device *device, size_t size, CUdeviceptr *memory);
void mglu_cuda_memory_give(struct mglu_cuda_device *device, CUdeviceptr memory, size_t size);
mglu_status mglu_cuda_memory_allocate(void *backend, int32_t ordinal, size_t size, void **memory);
void mglu_cuda_memory_release(void *backend, int32_t ordinal, void *memory, size_t size);
mglu_status mglu_cuda_memory_write(void *backend, void *queue, void *memory, size_t offset, const void *source,
                                   size_t size);
mglu_status mglu_cuda_memory_read(void *backend, void *queue, const void *memory, size_t offset, void *target,
                                  size_t size);
void *mglu_cuda_allocate(const mglu_host *host, size_t size);
void mglu_cuda_release(const mglu_host *host, void *memory, size_t size);

/* weights.c */
/* MGLU_ERROR_UNSUPPORTED for a dtype of weights that the kernels do not have. */
mglu_status mglu_cuda_check_dtype(const mglu_host *host, mglu_dtype dtype);
mglu_status mglu_cuda_weights_create(void *backend, int32_t ordinal, const mglu_packed_weights *packed, void **weights);
void mglu_cuda_weights_destroy(void *backend, void *weights);
uint64_t mglu_cuda_weights_bytes(void *backend, const void *weights);

/* layer.c */
mglu_status mglu_cuda_supports(void *backend, int32_t ordinal, const mglu_layer_plan *plan);
mglu_status mglu_cuda_layer_create(void *backend, int32_t ordinal, const mglu_layer_plan *plan, void *weights,
                                   void **layer);
void mglu_cuda_layer_destroy(void *backend, void *layer);
struct mglu_cuda_workspace mglu_cuda_lay_out(const mglu_packed_weights *shape, const mglu_layer_desc *desc,
                                             int64_t batch);
size_t mglu_cuda_workspace_size(void *backend, int32_t ordinal, const mglu_layer_plan *plan, int64_t batch);
mglu_accuracy mglu_cuda_layer_accuracy(void *backend, const void *layer);

/* What a projection's kernel is launched as. */
struct mglu_cuda_launch mglu_cuda_kernel_launch(const struct mglu_cuda_device *device,
                                                const struct mglu_cuda_kernel *kernel, uint32_t rows, int64_t batch);

/* describe.c */
/* The name of a kernel, as defined in params.h. */
void mglu_cuda_symbol(struct mglu_cuda_variant variant, char *text, size_t size);
/* Logs which kernels a layer has, and why. Call between enter and leave. */
mglu_status mglu_cuda_describe(const struct mglu_cuda_layer *layer);

/* validate.c */
/* Refuses an address that the driver does not know. Call between enter and leave. */
mglu_status mglu_cuda_check_addresses(struct mglu_cuda_queue *queue, const mglu_forward_args *args);

/* forward.c */
mglu_status mglu_cuda_forward(void *backend, void *layer, void *queue, const mglu_forward_args *args);

#endif
