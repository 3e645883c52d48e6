/* SPDX-License-Identifier: MIT */
#ifndef MGLU_CONTEXT_H
#define MGLU_CONTEXT_H

/**
 * @file
 * Contexts, and what the application can provide: memory, threads, a log, compiled programs.
 */

#include <mglu/types.h>

MGLU_BEGIN_DECLS

/**
 * A context holds all state of the library: hooks, backends and their devices. Several contexts may exist at the same
 * time; they share nothing. All calls on a context and on objects made from it may come from any thread, except that an
 * object must not be destroyed while another call uses it.
 *
 * After fork(), in the child:
 *  - A context of the parent and the objects made from it work on devices without a driver, as "cpu"
 *    (mglu_device_info.works_after_fork). A server can load weights once and compute in many children.
 *  - On other devices calls give MGLU_ERROR_AFTER_FORK. Objects can be destroyed; the driver is not called.
 *  - mglu_device_pick() with a name finds a backend that the parent had opened. With "auto" it needs the whole list of
 *    devices, as do mglu_device_count() and mglu_device_at(): where the parent had not listed them, or a list changed
 * at fork(), these calls fail with MGLU_ERROR_AFTER_FORK. No other device is selected in place of one that has a
 * driver, and mglu_backend_load() always fails.
 *  - No call waits for a lock that a thread of the parent held. An object that another thread was using or making at
 *    that moment can't be used, as a queue or a workspace.
 *  - If the parent had several threads, the library's own loops run on one, in new contexts too: OpenMP's threads do
 *    not exist in the child, and its runtime may wait for them. A line in the log (warn) says so. With mglu_parallel
 *    the loops are the host's as ever.
 *
 * The first context registers a handler with pthread_atfork(). Processes made without such handlers, by a bare clone()
 * or _Fork(), must not use the library.
 */
typedef struct mglu_context mglu_context;

/** Host memory. NULL members are an error; a NULL mglu_allocator means the library's own. */
typedef struct mglu_allocator {
    void *user; /**< the first argument of the functions */
    /** `size` bytes (never 0) aligned to `alignment` (a power of two), or NULL. Called from any thread. */
    void *(*allocate)(void *user, size_t size, size_t alignment);
    /** Frees what allocate() returned; called with the same size and alignment. */
    void (*release)(void *user, void *memory, size_t size, size_t alignment);
} mglu_allocator;

/**
 * Device memory, aligned to at least 64 bytes, for backends whose devices have memory of their own. `stream` is the
 * native stream that will use the memory, or NULL. The CPU backends never call it.
 */
typedef struct mglu_device_allocator {
    void *user; /**< the first argument of the functions */
    /** `size` bytes of the device, as the driver's own address or handle, or NULL. Called from any thread. */
    void *(*allocate)(void *user, const char *backend, int32_t ordinal, size_t size, void *stream);
    /** Frees what allocate() returned; called with the same size. */
    void (*release)(void *user, const char *backend, int32_t ordinal, void *memory, size_t size, void *stream);
} mglu_device_allocator;

/** One task of a parallel loop. */
typedef void (*mglu_task)(void *argument, int64_t index);

/**
 * The host's thread pool. parallel_for() calls task(argument, i) once for every i in 0..count-1, in any order, on any
 * threads, and returns when all are done. With this hook the library starts no thread and does not enter OpenMP.
 * Results do not depend on which thread runs which task, or on num_threads.
 */
typedef struct mglu_parallel {
    void *user; /**< the first argument of parallel_for() */
    /** Returns when all tasks are done. Called from any thread, from several at a time too. */
    void (*parallel_for)(void *user, int64_t count, mglu_task task, void *argument);
    /**
     * How many threads run the tasks of a loop, the calling one included; 0: not known, the machine's CPUs are assumed.
     * Loops are divided for so many. Fewer threads than this compute a little slower, more may be left without work.
     */
    int32_t num_threads;
} mglu_parallel;

/**
 * Compiled programs that the host stores between processes, for backends that compile on the device. Both members are
 * called from any thread. What load() returns is checked: where it is damaged or not the library's own, the program is
 * compiled again without an error. It runs as code in the process: load() must return only what the host trusts.
 */
typedef struct mglu_program_cache {
    void *user; /**< the first argument of the functions */
    /** Copies the entry of `key`, a file name of letters, to `data` if it has room, and returns its size; 0: none. */
    size_t (*load)(void *user, const char *key, void *data, size_t capacity);
    /** Stores a copy of `data` as the entry of `key`; may fail silently. */
    void (*store)(void *user, const char *key, const void *data, size_t size);
} mglu_program_cache;

/** How important a line of the log is: the lower, the more. */
typedef enum MGLU_ENUM32(mglu_log_level) {
    MGLU_LOG_ERROR = 1,
    MGLU_LOG_WARN = 2,
    MGLU_LOG_INFO = 3,
    MGLU_LOG_DEBUG = 4
} mglu_log_level;

/** Receives every text of the library, one line without a newline, from any thread. */
typedef struct mglu_logger {
    void *user; /**< the first argument of log() */
    /** `text` is valid during the call. */
    void (*log)(void *user, mglu_log_level level, const char *text);
    mglu_log_level level; /**< the most detailed level wanted; 0 means MGLU_LOG_WARN */
} mglu_logger;

/** Options of a new context. {.struct_size = sizeof(mglu_context_desc)} with all else zero gives the defaults. */
typedef struct mglu_context_desc {
    uint32_t struct_size; /**< sizeof(mglu_context_desc) */
    /**
     * CPU threads for the library's own OpenMP loops; 0: MGLU_NUM_THREADS if set, else 1. Ignored with `parallel`.
     * With 1, OpenMP is never entered. Fewer are used where fewer can be made, and in the OpenMP regions of a host one:
     * docs/embedding.md, "Threads".
     */
    int32_t num_threads;
    /** The most capable CPU instruction set to use, as "avx2"; NULL: MGLU_MAX_ISA if set, else no cap. */
    const char *max_isa;
    const mglu_allocator *allocator;               /**< NULL: aligned malloc; copied */
    const mglu_device_allocator *device_allocator; /**< NULL: the driver's allocator; copied */
    const mglu_parallel *parallel;                 /**< NULL: OpenMP, or serial where built without; copied.
                                                        mglu_forward_args.parallel takes precedence in its call */
    const mglu_logger *logger;                     /**< NULL: no log, unless MGLU_LOG names a level; copied */
    const mglu_program_cache *program_cache;       /**< NULL: cache_dir if there is one; copied */
    /**
     * A directory that stores compiled programs between processes; NULL: MGLU_CACHE_DIR if set, else none. Ignored with
     * `program_cache`. It and its entries must belong to the effective user or root, and nobody else may be able to
     * write to them; else they are not used, and the log says so. Made with mode 0700 where it does not exist.
     */
    const char *cache_dir;
    /**
     * Names of built-in backends, comma-separated, as "cpu,cuda": no other is ever opened, also by "auto" or when
     * devices are listed; its devices are one unavailable one with this reason. NULL: MGLU_BACKENDS if set, else all.
     * What mglu_backend_load() loads is opened in any case.
     */
    const char *backends;
} mglu_context_desc;
#define MGLU_CONTEXT_DESC_INIT MGLU_INIT(mglu_context_desc) /**< its size, else zeros */

/**
 * Makes a context. Opens no driver yet: the first call that needs the device list does.
 *
 * Reads the environment once: MGLU_BACKEND, MGLU_BACKENDS, MGLU_MAX_ISA, MGLU_NUM_THREADS, MGLU_CACHE_DIR, MGLU_LOG
 * (error, warn, info or debug, to stderr). What the desc sets takes precedence. An unknown value gives
 * MGLU_ERROR_INVALID_ARGUMENT with the list of known ones. A program with more rights than its user (set-user-ID,
 * set-group-ID, capabilities) ignores the environment.
 *
 * @param desc NULL for all defaults.
 * @param[out] context The new context, NULL on failure. Release with mglu_context_destroy().
 */
MGLU_API MGLU_MUST_CHECK mglu_status mglu_context_create(const mglu_context_desc *desc, mglu_context **context);

/**
 * Releases the caller's reference to a context and sets the handle to NULL; NULL is accepted. Objects made from it
 * (queues, weights, layers) hold references of their own: the context is freed, and its devices become invalid, when
 * the last of them is destroyed.
 */
MGLU_API void mglu_context_destroy(mglu_context **context);

/**
 * Loads a backend from a shared object and adds its devices at the end of the list. See docs/backends.md.
 *
 * @param path Absolute path. No directory is ever searched.
 * @return MGLU_ERROR_IO when it can't be opened or is no shared object, MGLU_ERROR_CORRUPT_FILE when the file is
 *         shorter than its headers say, as an incomplete copy is, MGLU_ERROR_VERSION_MISMATCH with both numbers when
 *         its ABI differs, MGLU_ERROR_INVALID_ARGUMENT when its table is incomplete or its name is taken.
 */
MGLU_API MGLU_MUST_CHECK mglu_status mglu_backend_load(mglu_context *context, const char *path);

MGLU_END_DECLS

#endif
