/* SPDX-License-Identifier: MIT */
#ifndef MGLU_TOOLS_COMMON_COMPUTE_H
#define MGLU_TOOLS_COMMON_COMPUTE_H

/**
 * @file
 * The device that a program computes on, and a feed-forward layer on it. Functions that fail have reported why.
 */

#include <mglu/mglu.h>

#include <stdbool.h>

struct compute {
    mglu_context *context;
    mglu_device *device;
    mglu_queue *queue;
    mglu_device_info info;
    uint32_t layer_flags; /**< of all layers that are made on it: 0, or what a user asks for */
};

/** Seconds since some moment in the past, for measuring how long something took. */
double compute_seconds(void);

/** One layer, ready to run. */
struct ffn {
    mglu_weights *weights;
    mglu_layer *layer;
    mglu_memory *workspace;
    size_t x_row, y_row; /**< bytes */
    mglu_memory *x, *y;  /**< rows on their way to and from a device with memory of its own; else NULL */
};

/** A context with so many threads; 0: as many as MGLU_NUM_THREADS says, else as this process may use. */
bool compute_context(mglu_context **context, int threads);

/** Picks the device of a backend; NULL leaves the choice to MGLU_BACKEND, else to the library. */
bool compute_open(struct compute *compute, const char *backend, int threads);

void compute_close(struct compute *compute);

/** Writes "cpu: its name (isa=avx2 threads=2)", one line whatever a driver says. */
void compute_describe(const struct compute *compute, char *text, size_t size);

/** Makes a layer. `name` is what errors call it. */
bool ffn_create(struct ffn *ffn, mglu_device *device, const mglu_weights_desc *weights, const mglu_layer_desc *desc,
                const char *name);
void ffn_destroy(struct ffn *ffn);

/** y = layer(x) + residual in host memory, without gaps between rows; waits for it. `residual` may be NULL or y. */
bool ffn_forward(struct ffn *ffn, mglu_queue *queue, int64_t batch, const void *x, void *y, const void *residual);

#endif
