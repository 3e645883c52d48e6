/* SPDX-License-Identifier: MIT */
#ifndef MGLU_OPENCL_BACKEND_H
#define MGLU_OPENCL_BACKEND_H

#include "backends/opencl/cache.h"
#include "backends/opencl/driver.h"
#include "common/core/mask_format.h"
#include "common/core/notify.h"

#include "backends/opencl/kernels/job.h"

#include <mglu/opencl.h>

#include <pthread.h>
#include <stdatomic.h>

/* The OpenCL backend: one kernel source, specialised for each layer and compiled on the device. */

/* ---- Devices and queues --------------------------------------------------------------------------------------- */

struct mglu_opencl_backend;
struct mglu_opencl_program;
struct mglu_opencl_selection;

struct mglu_opencl_device {
    struct mglu_opencl_backend *backend;
    cl_platform_id platform;
    cl_device_id id;
    cl_device_type type;
    uint64_t memory_bytes;
    uint64_t most_bytes; /* of one buffer */
    uint64_t local_bytes;
    size_t most_items; /* of a work-group */
    int rounds_division;
    char name[128], driver[160], details[64], reason[256];
    atomic_int lost;        /* no call is made for new work */
    atomic_int is_given_up; /* lost because a queue was destroyed before its work was done */
    pthread_mutex_t lock;   /* guards the members below; forward never locks it */
    cl_context context;     /* NULL until an object is made on the device */
    cl_command_queue queue; /* for tuning */
    cl_mem empty_buffer;    /* the argument for arrays that a layer does not have */
    uintptr_t first_word;   /* of all objects of the driver; 0: they have none in common, or it is unknown */
    struct mglu_opencl_program *programs;
    struct mglu_opencl_selection *selections;
};

struct mglu_opencl_backend {
    const mglu_host *host;
    struct mglu_opencl_driver cl;
    struct mglu_opencl_cache cache;
    int32_t count; /* of devices; 0: none, and `reason` says why */
    struct mglu_opencl_device *devices;
    char reason[256];
};

enum { MGLU_OPENCL_KNOWN = 16 }; /* handles that a queue remembers */

struct mglu_opencl_queue {
    /* First: what a driver still has of a queue that was given up leads leak checkers to the queue itself. */
    struct mglu_notifications notifications;
    struct mglu_opencl_device *device;
    cl_command_queue commands;
    const mglu_opencl_stream *stream;     /* the caller's, or NULL */
    cl_mem bad_routing;                   /* an int that kernels set to 1 */
    int routed;                           /* whether kernels may have set it since the last wait */
    cl_event marker;                      /* behind all work at the last poll that was too early, or NULL */
    int has_newer_work;                   /* work was enqueued behind the marker */
    const void *known[MGLU_OPENCL_KNOWN]; /* that were objects of the driver, for forwards */
    int next_known;
};

/* ---- Weights -------------------------------------------------------------------------------------------------- */

/* Some rows of a matrix. A device may be unable to hold all in one buffer. */
struct mglu_opencl_part {
    int64_t first_row, rows;
    cl_mem weight, scales, value, value_scales, masks; /* the device's `empty_buffer` when absent */
};

struct mglu_opencl_matrix {
    struct mglu_opencl_part *parts;
    int32_t count;
    mglu_dtype dtype;
    int64_t rows, columns;
    int32_t n_masks, matrices;
    size_t stride_bytes; /* from row to row */
};

struct mglu_opencl_weights {
    struct mglu_opencl_device *device;
    mglu_packed_weights shape; /* pointers mean presence only */
    struct mglu_opencl_matrix projection, router, down;
    cl_mem gate_bias, value_bias, down_bias; /* the device's `empty_buffer` when absent */
    uint64_t bytes;
};

/* ---- Layers --------------------------------------------------------------------------------------------------- */

/* A compiled form of mglu_rows: the macros of kernels/prelude.cl. */
struct mglu_opencl_variant {
    mglu_dtype weight;
    int32_t matrices, masks, is_glu, routed;
    int32_t rows, tokens, slices, lines;
    int32_t mask_form, half_form;
};

/* Kernel objects, whose arguments are set by one thread at a time. */
enum { MGLU_OPENCL_KERNEL_SETS = 4 };

/*
 * One launch of a forward: a matrix, and kernels for one token at a time and for several. Both give the same bits for a
 * token; a layer for single tokens has only the first, and a small one for batches only the second.
 */
struct mglu_opencl_step {
    const struct mglu_opencl_matrix *matrix; /* NULL: the layer has no such step */
    int first, last;                         /* range of existing kernels of the two */
    const char *reason;                      /* for the selection of the variants */
    struct mglu_opencl_variant variants[2];
    cl_kernel kernels[MGLU_OPENCL_KERNEL_SETS][2];
};

/* The workspace of a forward; offsets are in words of 4 bytes. */
struct mglu_opencl_workspace {
    int64_t chunk_tokens; /* that fit */
    mglu_index logits_at, ids_at, p_at, z_at, end;
};

struct mglu_opencl_layer {
    struct mglu_opencl_device *device;
    const struct mglu_opencl_weights *weights;
    mglu_layer_desc desc;
    int32_t terms;
    struct mglu_opencl_step router, projection, down;
    cl_kernel route[MGLU_OPENCL_KERNEL_SETS];
    atomic_flag taken[MGLU_OPENCL_KERNEL_SETS];
};

/* ---- Functions ------------------------------------------------------------------------------------------------ */

static inline void *mglu_opencl_allocate(const mglu_host *host, size_t size)
{
    return host->allocator.allocate(host->allocator.user, size, _Alignof(max_align_t));
}

static inline void mglu_opencl_release(const mglu_host *host, void *memory, size_t size)
{
    if (memory)
        host->allocator.release(host->allocator.user, memory, size, _Alignof(max_align_t));
}

/* device.c */
mglu_status mglu_opencl_open(const mglu_host *host, void **backend);
/* The same with a driver that is already open; NULL: there is none, and `reason` explains why. */
mglu_status mglu_opencl_open_with(const mglu_host *host, const struct mglu_opencl_driver *driver, const char *reason,
                                  void **backend);
void mglu_opencl_close(void *backend);
int32_t mglu_opencl_device_count(void *backend);
mglu_status mglu_opencl_device_info(void *backend, int32_t ordinal, mglu_backend_device *info);

/* failure.c */
/* MGLU_ERROR_DEVICE_LOST once a call has found the device gone. */
mglu_status mglu_opencl_device_check(const struct mglu_opencl_device *device);
/* The failure for a code other than CL_SUCCESS. `call` is the driver's function, `what` the action that failed. */
mglu_status mglu_opencl_fail(struct mglu_opencl_device *device, cl_int code, const char *call, const char *what);

/* buffer.c */
/* A buffer filled from host memory, unless `from` is NULL. */
mglu_status mglu_opencl_buffer(struct mglu_opencl_device *device, size_t size, const void *from, cl_mem *buffer);
void mglu_opencl_buffer_release(struct mglu_opencl_device *device, cl_mem buffer);

/* session.c */
/*
 * Makes the device ready for use, in the context `wanted` or, if that is NULL, a new one. Once there is a context, any
 * other is refused.
 */
mglu_status mglu_opencl_device_start(struct mglu_opencl_device *device, cl_context wanted);
void mglu_opencl_device_stop(struct mglu_opencl_device *device);

/* queue.c */
mglu_status mglu_opencl_queue_create(void *backend, int32_t ordinal, const mglu_queue_desc *desc, void **queue);
mglu_status mglu_opencl_queue_wait(void *backend, void *queue);
mglu_status mglu_opencl_queue_poll(void *backend, void *queue);
mglu_status mglu_opencl_queue_notify(void *backend, void *queue, mglu_queue_callback callback, void *user);
void mglu_opencl_queue_destroy(void *backend, void *queue);

/* memory.c */
mglu_status mglu_opencl_memory_allocate(void *backend, int32_t ordinal, size_t size, void **memory);
void mglu_opencl_memory_release(void *backend, int32_t ordinal, void *memory, size_t size);
mglu_status mglu_opencl_memory_write(void *backend, void *queue, void *memory, size_t offset, const void *source,
                                     size_t size);
mglu_status mglu_opencl_memory_read(void *backend, void *queue, const void *memory, size_t offset, void *target,
                                    size_t size);

/* weights.c */
mglu_status mglu_opencl_weights_create(void *backend, int32_t ordinal, const mglu_packed_weights *packed,
                                       void **weights);
void mglu_opencl_weights_destroy(void *backend, void *weights);
uint64_t mglu_opencl_weights_bytes(void *backend, const void *weights);

/* program.c */
/* The program of a variant, from the context's list, the cache or the compiler. Belongs to the device. */
mglu_status mglu_opencl_program_get(struct mglu_opencl_device *device, const struct mglu_opencl_variant *variant,
                                    cl_program *program);
void mglu_opencl_programs_free(struct mglu_opencl_device *device);

/* tuner.c */
/*
 * Completes the variant for a matrix: the properties that the device determines, and the fastest values of the others.
 * Its `tokens` is 1, or 0: to be selected. Returns the reason for the selection.
 */
const char *mglu_opencl_select(struct mglu_opencl_device *device, const struct mglu_opencl_matrix *matrix,
                               struct mglu_opencl_variant *variant);
void mglu_opencl_selections_free(struct mglu_opencl_device *device);

/* describe.c */
/* The layer's line in the log. */
void mglu_opencl_describe(const struct mglu_opencl_layer *layer);

/* validate.c */
/* The first word that the context and the first objects in it have in common, or 0. */
uintptr_t mglu_opencl_first_word(const struct mglu_opencl_device *device);
/* Refuses what it can tell to be no buffer of the context, or too small. */
mglu_status mglu_opencl_check_buffers(struct mglu_opencl_queue *queue, const struct mglu_opencl_layer *layer,
                                      const mglu_forward_args *args, size_t workspace_bytes);

/* layer.c */
mglu_status mglu_opencl_supports(void *backend, int32_t ordinal, const mglu_layer_plan *plan);
mglu_status mglu_opencl_layer_create(void *backend, int32_t ordinal, const mglu_layer_plan *plan, void *weights,
                                     void **layer);
void mglu_opencl_layer_destroy(void *backend, void *layer);
struct mglu_opencl_workspace mglu_opencl_lay_out(const mglu_packed_weights *shape, const mglu_layer_desc *desc,
                                                 int64_t batch);
size_t mglu_opencl_workspace_size(void *backend, int32_t ordinal, const mglu_layer_plan *plan, int64_t batch);
mglu_accuracy mglu_opencl_layer_accuracy(void *backend, const void *layer);

/* forward.c */
mglu_status mglu_opencl_forward(void *backend, void *layer, void *queue, const mglu_forward_args *args);

#endif
