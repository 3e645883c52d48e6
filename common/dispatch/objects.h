/* SPDX-License-Identifier: MIT */
#ifndef MGLU_DISPATCH_OBJECTS_H
#define MGLU_DISPATCH_OBJECTS_H

#include <mglu/backend.h>

#include "common/core/parallel.h"
#include "common/core/structs.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

/* The structs of the public handles, and helpers shared by all files of the dispatch layer. */

/* A backend opened for one context. */
struct opened_backend {
    const mglu_backend_fns *fns;
    void *state;        /* from fns->open() */
    const char *closed; /* why fns->open() was not called, or NULL */
    int has_drivers;    /* a device does not work after fork() */
};

struct mglu_device {
    mglu_context *context;
    struct opened_backend backend;
    int32_t ordinal;
    mglu_backend_device info;
};

/* A growing list of pointers. */
struct pointer_list {
    void **items;
    size_t count;
    size_t capacity;
};

struct mglu_context {
    mglu_host host; /* first: the backends hold its address */
    atomic_int refcount;
    unsigned forks; /* mglu_forks when it was made */
    mglu_logger logger;
    mglu_parallel parallel; /* the application's, or the library's own threads */
    size_t stack_size;      /* of OpenMP's threads; 0: the system's default */
    atomic_int warned_of_fork, warned_of_limit;
    char *max_isa;
    char *default_backend; /* MGLU_BACKEND, or NULL */
    char *allowed;         /* names of the built-in backends that may be opened, or NULL: all */
    char *closed;          /* why others are not opened */
    char *cache_dir;
    pthread_mutex_t lock;         /* guards the members below */
    atomic_int is_changing;       /* the lists, at the moment */
    int is_complete;              /* all built-in backends are open */
    struct pointer_list backends; /* struct opened_backend */
    struct pointer_list devices;  /* mglu_device */
};

struct mglu_queue {
    mglu_device *device;
    void *state;
    uint64_t destroy_ns;
    atomic_int is_cancelled; /* the wait in progress, or the next one */
};

/* The text for a queue that is NULL where it may not be; its argument is the backend's name. */
#define MGLU_QUEUE_MISSING "queue is NULL: backend '%s' needs one; only devices with host memory do not"

struct mglu_weights {
    mglu_device *device;
    atomic_int refcount;
    mglu_packed_weights packed; /* sizes and presence; array pointers are valid on devices with host memory only */
    void *arena;                /* the packed arrays that were not borrowed; NULL on devices with their own memory */
    size_t arena_size;
    size_t borrowed_size;
    void *state;
};

struct mglu_layer {
    mglu_weights *weights;
    mglu_layer_plan plan;
    size_t workspace_size; /* at max_batch */
    void *state;
};

struct mglu_train {
    mglu_device *device;
    mglu_train_desc desc; /* with every default filled in */
    void *state;
};

struct mglu_memory {
    mglu_device *device;
    void *data;
    size_t size;
};

/* The thread's text of mglu_last_error(), for calls after whose failures it must still be that of an earlier call. */
struct error_text {
    char text[512];
};

static inline void save_error(struct error_text *saved)
{
    snprintf(saved->text, sizeof saved->text, "%s", mglu_last_error());
}

static inline void restore_error(const struct error_text *saved)
{
    mglu_fail(MGLU_OK, "%s", saved->text);
}

/* Text of `reason` with NULL read as "". */
static inline const char *text_or_empty(const char *text)
{
    return text ? text : "";
}

static inline int is_available(const mglu_device *device)
{
    return !device->info.reason || !device->info.reason[0];
}

/* fork.c */
extern atomic_uint mglu_forks; /* between this process and the first that used the library */
/* Makes fork() count from now on. */
mglu_status mglu_fork_register(void);
/* Whether a fork left threads behind, among which OpenMP's may have been. */
int mglu_fork_lost_threads(void);

/* A function of a backend's table, or NULL where an older table ends before it. */
#define MGLU_TABLE_SLOT(fns, slot)                                                                                     \
    ((fns)->struct_size >= offsetof(mglu_backend_fns, slot) + sizeof(fns)->slot ? (fns)->slot : NULL)

/* Whether a context was made by a parent process. */
static inline int is_inherited(const mglu_context *context)
{
    return atomic_load_explicit(&mglu_forks, memory_order_relaxed) != context->forks;
}

/* Whether a device's backend may be called: not in a child of the process that opened its driver. */
static inline int is_callable(const mglu_device *device)
{
    return device->info.works_after_fork || !is_inherited(device->context);
}

/* context.c */
void mglu_context_hold(mglu_context *context);
void mglu_context_release(mglu_context *context);

/* backend_names.c */
/* Whether a comma-separated list has the name. */
int mglu_names_include(const char *list, const char *name);
/* Refuses a list with another name than those of built-in backends; `source` is where it is from. */
mglu_status mglu_names_check(const char *source, const char *list);
int mglu_is_builtin_name(const char *name);
/* All that mglu_device_pick() accepts, for an error text. */
void mglu_names_known(const mglu_context *context, char *text, size_t size);

/* environment.c: takes what the desc does not set from the MGLU_* variables. */
mglu_status mglu_environment_read(mglu_context *context, const mglu_context_desc *desc);

/* shared_object.c: refuses what dlopen() would crash on or wait for. */
mglu_status mglu_shared_object_check(const char *path);

/* log.c */
void mglu_log(const mglu_host *host, mglu_log_level level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
extern const mglu_logger mglu_stderr_logger;

/* parallel.c */
/* The loops of a context without a hook: sets host.num_threads to the number of threads that can be made. */
void mglu_parallel_use_own(mglu_context *context);

/* threads.c */
/* Threads of this process; 0: unknown. */
int64_t mglu_process_threads(void);
/* The part of `wanted` threads that can exist, this one included. */
int32_t mglu_possible_threads(int32_t wanted, size_t stack_size);
/* As the environment sets it; 0: not set. */
size_t mglu_openmp_stack_size(void);

/* host_memory.c */
extern const mglu_allocator mglu_default_allocator;

/*
 * The bytes that this allocator takes: whole huge pages, unless little is left over or they add more than an eighth.
 * Scales and mask words at the end that are in pages of 4 KiB take several times as long to read: each page costs a
 * walk through the page tables.
 */
size_t mglu_size_in_huge_pages(size_t size);
void *mglu_host_allocate(const mglu_context *context, size_t size, size_t alignment);
void mglu_host_release(const mglu_context *context, void *memory, size_t size, size_t alignment);
mglu_status mglu_list_append(const mglu_context *context, struct pointer_list *list, void *item);
/* Frees the array, not what its elements point to; the count is unchanged. */
void mglu_list_free(const mglu_context *context, struct pointer_list *list);

/* device.c */
/* MGLU_ERROR_AFTER_FORK unless is_callable(). */
mglu_status mglu_device_check_fork(const mglu_device *device);
/* Whether objects can be made on a device: it is available and is_callable(). */
mglu_status mglu_device_check(const mglu_device *device);

/* device_list.c */
/* Opens a backend and lists its devices; the caller holds the lock and has begun a change. */
mglu_status mglu_context_add_backend(mglu_context *context, const mglu_backend_fns *fns);
/* Removes the backend that was added last, and the devices from `first_device` on. */
void mglu_context_drop_last_backend(mglu_context *context, size_t first_device);
/*
 * Opens the built-in backends that mglu_device_pick() of that name may select from, or with NULL all of them, unless
 * they are open. MGLU_OK:
 * the caller may read the list until it unlocks it. In a forked child nothing is locked, since the list no longer
 * changes and a thread that does not exist may hold the lock.
 */
mglu_status mglu_context_lock_devices(mglu_context *context, const char *name);
void mglu_context_unlock_devices(mglu_context *context);
/* Around every change of the list, with the lock held: a child forked meanwhile does not read it. */
void mglu_context_begin_change(mglu_context *context);
void mglu_context_end_change(mglu_context *context);

/* layer.c: bytes that a forward of such a layer needs; 0 where it has nothing to compute. */
size_t mglu_workspace_needed(const mglu_device *device, const mglu_layer_plan *plan, int64_t batch);

/* validate.c: the rules of weights.h and layer.h. */
mglu_status mglu_validate_weights(const mglu_weights_desc *desc);
/* The texts of errors begin with `what`. */
mglu_status mglu_validate_activation(const char *what, mglu_activation activation, float silu_beta);
mglu_status mglu_validate_layer(const mglu_packed_weights *shape, const mglu_layer_desc *desc, mglu_layer_plan *plan);
/* Fills in strides. Without output, y and the workspace are ignored. */
mglu_status mglu_validate_forward(const mglu_layer *layer, mglu_forward_args *args, int has_output);

/* train_validate.c: the rules of train.h. Fills in defaults and strides; batch is at least 1. */
mglu_status mglu_validate_train(mglu_train_desc *desc);
mglu_status mglu_validate_train_forward(const mglu_train *train, mglu_train_forward_args *args);
mglu_status mglu_validate_train_backward(const mglu_train *train, mglu_train_backward_args *args);
mglu_status mglu_validate_train_reference(const mglu_train *train, mglu_train_reference_args *args);
/* The part of the rules of a backward that holds for every batch: which gradients there can be. */
mglu_status mglu_validate_train_gradients(const mglu_train *train, const mglu_train_backward_args *args);

/* parts.c */
/* Sizes, and which parts are present: the pointer of a part is the caller's, not that of packed data. */
mglu_packed_weights mglu_weights_shape(const mglu_weights_desc *desc);

/* weights.c */
/* Packed W and masks, or both plain matrices. */
uint64_t mglu_projection_bytes(const mglu_packed_weights *packed);
void mglu_weights_release(mglu_weights *weights);

#endif
