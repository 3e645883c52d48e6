/* SPDX-License-Identifier: MIT */
#ifndef MGLU_BENCH_TIMED_LAYER_H
#define MGLU_BENCH_TIMED_LAYER_H

/**
 * @file
 * One layer that is timed, with as many copies of its weights as the regime needs.
 */

#include "machine.h"
#include "test_data.h"

struct copy {
    mglu_weights *weights;
    mglu_layer *layer;
};

struct timed_layer {
    const struct problem *problem;
    const struct machine *machine;
    const struct test_data *test_data;
    int32_t n_masks; /**< 0: the plain twin */
    int32_t top_k;   /**< 0: no routing */
    uint64_t bytes;  /**< of the weights that a call reads */
    double flops;    /**< multiplications and additions of one call */
    struct copy *copies;
    size_t copy_count, next;
    int64_t calls; /**< in one sample */
    int32_t *ids;  /**< [batch][top_k] */
    float *shares; /**< the same shape */
    mglu_memory *workspace, *ids_memory, *shares_memory;
    mglu_forward_args args;
    char kernel[512];  /**< what computes it, in the words of the library's log; "": not known */
    char failure[512]; /**< why it can't be measured; "" while it can */
    bool wrong;        /**< its results are wrong; set by check_timed_layer() */
};

/** Makes a layer with all its copies, and calls it at least once. On failure timed->failure has the reason. */
void timed_layer_open(struct timed_layer *timed, const struct problem *problem, const struct machine *machine,
                      const struct test_data *test_data, int32_t n_masks, int32_t top_k);
void timed_layer_close(struct timed_layer *timed);

/** "glu", "mglu" or "routed". */
const char *timed_layer_what(const struct timed_layer *timed);

/** Outputs for each token. */
int64_t timed_layer_width(const struct timed_layer *timed);

/** Seconds of one call, the mean of a sample. On failure 0, and the reason in timed->failure. */
double timed_layer_time(struct timed_layer *timed);

/** Seconds of one call without tokens, which checks its arguments and returns; 0 on failure. */
double timed_layer_dispatch(const struct timed_layer *timed);

/** The arrays of a timed layer, of `count` of its outputs only, from `first` on. */
mglu_weights_desc timed_layer_weights_desc(const struct timed_layer *timed, int64_t first, int64_t count);
mglu_layer_desc timed_layer_layer_desc(const struct timed_layer *timed, int64_t max_batch);

#endif
