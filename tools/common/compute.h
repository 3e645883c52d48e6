/* SPDX-License-Identifier: MIT */
#ifndef MGLU_TOOLS_COMMON_COMPUTE_H
#define MGLU_TOOLS_COMMON_COMPUTE_H

/**
 * @file
 * The device that a program computes on, and a feed-forward layer on it. Functions that fail have reported why.
 */

#include <mglu/mglu.h>

#include <stdbool.h>

/** The library's limit. */
enum { COMPUTE_MAX_THREADS = 4096 };

/** What the command line selects for computing (arguments.h). */
struct compute_options {
    const char *backend;       /**< NULL: as MGLU_BACKEND says, else the library's choice */
    const char *max_isa;       /**< NULL: as MGLU_MAX_ISA says, else no cap */
    int threads;               /**< 0: as many as MGLU_NUM_THREADS says, else as this process may use */
    uint32_t layer_flags;      /**< of all layers */
    bool own_pool;             /**< loops run on a pool of the program's (pool.h), else on OpenMP's threads */
    const mglu_logger *logger; /**< NULL: none but that of MGLU_LOG */
};

struct compute {
    struct pool *pool; /**< NULL: none */
    mglu_context *context;
    mglu_device *device;
    mglu_queue *queue;
    mglu_device_info info;
    uint32_t layer_flags; /**< of the options, for all layers that are made on it */
};

/** Seconds of a monotonic clock, for measuring durations. */
double compute_seconds(void);

/** One layer, ready to run. */
struct ffn {
    mglu_weights *weights;
    mglu_layer *layer;
    mglu_memory *workspace;
    size_t x_row, y_row; /**< bytes */
    mglu_memory *x, *y;  /**< copies on a device with memory of its own; else NULL */
};

/**
 * A pool of as many threads as --threads says (0: not given), else MGLU_NUM_THREADS, else as this process may use. NULL
 * for one thread, and where MGLU_NUM_THREADS is not a number.
 */
bool compute_pool(struct pool **pool, int threads);

/** A context as without any option. */
bool compute_context(mglu_context **context);

/** Makes a context with the options' threads and instruction sets, and picks their device. */
bool compute_open(struct compute *compute, const struct compute_options *options);

/** To be called when all objects of the context are destroyed. */
void compute_close(struct compute *compute);

/** Writes "cpu: its name (isa=avx2 threads=2)", always as one line. */
void compute_describe(const struct compute *compute, char *text, size_t size);

/** Makes a layer. Error messages begin with `name`. */
bool ffn_create(struct ffn *ffn, mglu_device *device, const mglu_weights_desc *weights, const mglu_layer_desc *desc,
                const char *name);
void ffn_destroy(struct ffn *ffn);

/** y = layer(x) + residual in host memory, without gaps between rows; waits for it. `residual` may be NULL or y. */
bool ffn_forward(struct ffn *ffn, mglu_queue *queue, int64_t batch, const void *x, void *y, const void *residual);

#endif
