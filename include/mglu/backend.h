/* SPDX-License-Identifier: MIT */
#ifndef MGLU_BACKEND_H
#define MGLU_BACKEND_H

#include <mglu/layer.h>
#include <mglu/pack.h>
#include <mglu/train.h>

MGLU_BEGIN_DECLS

/**
 * @file
 * The interface between a backend and the dispatch layer, for built-in backends and for those loaded from a shared
 * object. See docs/backends.md.
 *
 * The dispatch layer checks all arguments before it calls a backend function, so backends need not. Every function may
 * be called from any thread. A function that fails calls host->fail() and returns its result.
 */

/** Increased whenever a struct of this file changes in a way that is incompatible with older plug-ins. */
#define MGLU_BACKEND_ABI 2

/** Order in which "auto" prefers devices: the highest is selected, 0 never. */
enum {
    MGLU_RANK_NEVER = 0,
    MGLU_RANK_FOREIGN_CPU = 100, /**< a CPU behind a GPU interface */
    MGLU_RANK_CPU = 200,
    MGLU_RANK_PORTABLE_GPU = 300,
    MGLU_RANK_NATIVE_GPU = 400
};

/** What the library provides to a backend; valid as long as the backend is open. */
typedef struct mglu_host {
    uint32_t struct_size;                   /**< sizeof(mglu_host) */
    int32_t num_threads;                    /**< at least 1 */
    const char *max_isa;                    /**< NULL: no cap */
    mglu_allocator allocator;               /**< the application's, or the library's own */
    mglu_device_allocator device_allocator; /**< members NULL: the backend's own */
    /** Sets the text of mglu_last_error() for this thread and returns `status`. */
    mglu_status (*fail)(mglu_status status, const char *format, ...)
#if defined(__GNUC__)
        __attribute__((format(printf, 2, 3)))
#endif
        ;
    /** Writes a line to the context's log. */
    void (*log)(const struct mglu_host *host, mglu_log_level level, const char *format, ...)
#if defined(__GNUC__)
        __attribute__((format(printf, 3, 4)))
#endif
        ;
    mglu_program_cache program_cache; /**< members NULL: none */
    const char *cache_dir;            /**< NULL: none */
} mglu_host;

/** A packed matrix in host memory: see mglu/pack.h for the layout. */
typedef struct mglu_packed_matrix {
    const void *data;    /**< NULL: absent. 64-byte aligned. Not NULL where there are rows or columns of size 0 */
    size_t stride_bytes; /**< from row to row */
    const void *scales;  /**< quantised: f16 [rows][groups], 64-byte aligned; NULL exactly where data is. Else NULL */
    size_t scale_stride_bytes; /**< 2 * groups: rows of scales are not padded. 0 when not quantised */
} mglu_packed_matrix;

/**
 * A layer's parameters in the packed format, in host memory. Backends with host memory may use the arrays in place:
 * they are valid as long as the weights. Others upload them in weights_create and must not store the pointers.
 */
typedef struct mglu_packed_weights {
    uint32_t struct_size;            /**< sizeof(mglu_packed_weights) */
    int32_t n_masks;                 /**< 0 when plain */
    mglu_kind kind;                  /**< masked or plain */
    mglu_dtype dtype;                /**< of weight, value_weight and down */
    int64_t hidden_size;             /**< h */
    int64_t intermediate_size;       /**< d */
    int64_t output_size;             /**< of the down-projection; 0: none */
    mglu_packed_matrix weight;       /**< [d][h_pad] */
    mglu_packed_matrix value_weight; /**< [d][h_pad], plain only */
    const uint32_t *masks;           /**< [d][h_pad/32][n_m], masked only */
    const float *gate_bias;          /**< [max(n_m, 1)][d] or NULL */
    const float *value_bias;         /**< [max(n_m, 1)][d] or NULL */
    mglu_packed_matrix router;       /**< f32 [n_m][h_pad] or absent */
    mglu_packed_matrix down;         /**< [output_size][d_pad] or absent */
    const float *down_bias;          /**< [output_size] or NULL */
    const mglu_parallel *parallel;   /**< never NULL in weights_create, whose loops are run with it; not to be stored */
} mglu_packed_weights;

/** A backend's description of one of its devices. Strings are valid until close(). */
typedef struct mglu_backend_device {
    uint32_t struct_size;                /**< sizeof(mglu_backend_device) */
    int32_t rank;                        /**< MGLU_RANK_* */
    mglu_device_type type;               /**< as in mglu_device_info */
    int32_t host_memory;                 /**< as in mglu_device_info */
    const char *name;                    /**< as in mglu_device_info */
    const char *reason;                  /**< NULL or "" when available */
    const char *details;                 /**< NULL or words as "isa=avx2" */
    uint64_t memory_bytes;               /**< as in mglu_device_info */
    const char *const *instruction_sets; /**< as in mglu_device_info; NULL: none */
    /**
     * Nonzero: the device consists of memory and code of this process only, so that all its functions work in a forked
     * child. Else none of the backend's functions is called in the child: what it allocated stays allocated there.
     */
    int32_t works_after_fork;
} mglu_backend_device;

/** The layer to plan, checked and with every default filled in. */
typedef struct mglu_layer_plan {
    uint32_t struct_size;             /**< sizeof(mglu_layer_plan) */
    uint32_t flags;                   /**< 0 */
    mglu_layer_desc desc;             /**< the operation */
    const mglu_packed_weights *shape; /**< sizes, dtype and which parts are present; do not read the arrays */
} mglu_layer_plan;

/**
 * The function table of a backend. Functions are required unless their comment says when they may be NULL. `void *`
 * handles are the backend's own: backend (from open), weights, queue, layer.
 */
typedef struct mglu_backend_fns {
    uint32_t abi;         /**< MGLU_BACKEND_ABI */
    uint32_t struct_size; /**< sizeof(mglu_backend_fns) */
    const char *name;     /**< lower case, unique in a context */
    /** Why this build has no such backend. If set, one unavailable device is listed and no function is ever called. */
    const char *unavailable;

    /** Opens the backend for one context: finds its devices. Fails only for invalid configuration or lack of memory. */
    mglu_status (*open)(const mglu_host *host, void **backend);
    /** Frees what open made. */
    void (*close)(void *backend);

    /** At least 1: a backend without devices lists one that is unavailable, with the reason. */
    int32_t (*device_count)(void *backend);
    /** Fills `info`, whose struct_size is set. */
    mglu_status (*device_info)(void *backend, int32_t ordinal, mglu_backend_device *info);

    /** MGLU_OK, or MGLU_ERROR_UNSUPPORTED with the reason as text. Must be correct for every shape. */
    mglu_status (*supports)(void *backend, int32_t ordinal, const mglu_layer_plan *plan);

    /** Uploads what the device needs. In host memory the arrays stay valid as long as the weights. */
    mglu_status (*weights_create)(void *backend, int32_t ordinal, const mglu_packed_weights *packed, void **weights);
    /** Called after the layers on them are destroyed. */
    void (*weights_destroy)(void *backend, void *weights);
    /** Bytes that the backend has allocated for these weights; host arrays used in place do not count. */
    uint64_t (*weights_bytes)(void *backend, const void *weights);

    /** `desc` is never NULL. */
    mglu_status (*queue_create)(void *backend, int32_t ordinal, const mglu_queue_desc *desc, void **queue);
    /** See mglu_queue_wait(). */
    mglu_status (*queue_wait)(void *backend, void *queue);
    /** See queue_poll. */
    void (*queue_destroy)(void *backend, void *queue);

    /** All that is slow: forward does not allocate, compile or load. */
    mglu_status (*layer_create)(void *backend, int32_t ordinal, const mglu_layer_plan *plan, void *weights,
                                void **layer);
    /** Called when no forward uses the layer. */
    void (*layer_destroy)(void *backend, void *layer);
    /**
     * Bytes that forward needs for `batch` tokens, 1..max_batch, in every layer of that plan; never fewer for more
     * tokens. Forward gets as many or more, and uses no others.
     */
    size_t (*workspace_size)(void *backend, int32_t ordinal, const mglu_layer_plan *plan, int64_t batch);
    /** See mglu_layer_accuracy(). */
    mglu_accuracy (*layer_accuracy)(void *backend, const void *layer);

    /**
     * batch >= 1, y has at least one column (d may be 0 with a down-projection: y = bias + residual), strides filled
     * in. `parallel` is never NULL: loops of this call are run with it. On devices with host memory the queue may be
     * NULL: forward then returns after the work, with the status that queue_wait would have.
     */
    mglu_status (*forward)(void *backend, void *layer, void *queue, const mglu_forward_args *args);

    /** May be NULL: only reference backends have it. See mglu_forward_reference(). */
    mglu_status (*forward_reference)(void *backend, void *layer, const mglu_forward_args *args, mglu_accuracy accuracy,
                                     double *want, double *tolerance);

    /** All four may be NULL when every device has host memory: the host's allocator and memcpy are then used. */
    mglu_status (*memory_allocate)(void *backend, int32_t ordinal, size_t size, void **memory);
    /** See memory_allocate. */
    void (*memory_release)(void *backend, int32_t ordinal, void *memory, size_t size);
    /** Blocking; runs after all earlier work on the queue. */
    mglu_status (*memory_write)(void *backend, void *queue, void *memory, size_t offset, const void *source,
                                size_t size);
    /** As memory_write. */
    mglu_status (*memory_read)(void *backend, void *queue, const void *memory, size_t offset, void *target,
                               size_t size);

    /**
     * As queue_wait, but without waiting: MGLU_ERROR_TIMEOUT, without a text, where the work is not done. Where forward
     * returns after the work it is the same function as queue_wait. A backend with it does not wait in queue_destroy:
     * that is called when the work is done or is to be given up (see mglu_queue_destroy()). May be NULL:
     * mglu_queue_wait_for() is then unsupported.
     */
    mglu_status (*queue_poll)(void *backend, void *queue);

    /**
     * See mglu_queue_notify(). queue_wait and queue_poll count the callback as work: they return after it. May be NULL:
     * it is then unsupported.
     */
    mglu_status (*queue_notify)(void *backend, void *queue, mglu_queue_callback callback, void *user);

    /**
     * Training, see mglu/train.h: the six functions up to train_backward, or none of them; without them the backend
     * does not train. They are called for devices with host memory only. `desc` is checked, and every default is filled
     * in. MGLU_ERROR_UNSUPPORTED, with the reason as text, for a desc that is not supported, whatever its sizes.
     */
    mglu_status (*train_create)(void *backend, int32_t ordinal, const mglu_train_desc *desc, void **train);
    /** Called when no call uses it. */
    void (*train_destroy)(void *backend, void *train);
    /** Bytes for a forward or a backward of `batch` tokens, 1..max_batch; never fewer for more tokens. */
    size_t (*train_workspace_size)(void *backend, const void *train, int64_t batch);
    /** The same of `saved`. */
    size_t (*train_saved_size)(void *backend, const void *train, int64_t batch);
    /**
     * batch >= 1, strides are filled in, `parallel` is never NULL. The masks are MGLU_MASK_WORDS, 4-byte aligned, with
     * padding bits of 0, whatever the caller gave; the workspace is this function's alone. `saved` NULL: write y only.
     * The queue may be NULL, as in forward. It does not allocate.
     */
    mglu_status (*train_forward)(void *backend, void *train, void *queue, const mglu_train_forward_args *args);
    /** The same. Gradients that are NULL are not computed. */
    mglu_status (*train_backward)(void *backend, void *train, void *queue, const mglu_train_backward_args *args);
    /** May be NULL: only reference backends have it. See mglu_train_reference(); the masks are MGLU_MASK_WORDS. */
    mglu_status (*train_reference)(void *backend, void *train, const mglu_train_reference_args *args);
} mglu_backend_fns;

/** The one symbol that a plug-in exports; it returns the function table, in static storage. `host_abi` is the library's
 * MGLU_BACKEND_ABI. */
typedef const mglu_backend_fns *(*mglu_backend_entry_fn)(uint32_t host_abi);
/** Its name. */
#define MGLU_BACKEND_ENTRY "mglu_backend_entry"

MGLU_END_DECLS

#endif
