/* SPDX-License-Identifier: MIT */
#ifndef MGLU_BENCH_SUBJECT_H
#define MGLU_BENCH_SUBJECT_H

/**
 * @file
 * One layer that is timed, with as many copies of its weights as the regime asks for.
 */

#include "machine.h"
#include "test_data.h"

struct copy {
    mglu_weights *weights;
    mglu_layer *layer;
};

struct subject {
    const struct problem *problem;
    const struct machine *machine;
    const struct material *material;
    int32_t n_masks; /**< 0: the plain twin */
    int32_t top_k;   /**< 0: no routing */
    uint64_t bytes;  /**< of the weights that a call reads */
    struct copy *copies;
    size_t copy_count, next;
    int64_t calls; /**< in one sample */
    int32_t *ids;  /**< [batch][top_k] */
    float *shares; /**< the same shape */
    mglu_memory *workspace, *ids_memory, *shares_memory;
    mglu_forward_args args;
    char failure[512]; /**< why it can't be measured; "" while it can */
    bool wrong;        /**< it computed something wrong; set by check_subject() */
};

/** Makes a layer with all its copies, and has called it at least once. On failure says why in subject->failure. */
void subject_open(struct subject *subject, const struct problem *problem, const struct machine *machine,
                  const struct material *material, int32_t n_masks, int32_t top_k);
void subject_close(struct subject *subject);

/** "glu", "mglu" or "routed". */
const char *subject_what(const struct subject *subject);

/** Outputs for each token. */
int64_t subject_width(const struct subject *subject);

/** Multiplications and additions of one call. */
double subject_flops(const struct subject *subject);

/** Seconds of one call, out of as many as a sample needs. On failure 0, and the reason in subject->failure. */
double subject_time(struct subject *subject);

/** The arrays of a subject's layer, of `count` of its outputs only, from `first` on. */
mglu_weights_desc subject_weights_desc(const struct subject *subject, int64_t first, int64_t count);
mglu_layer_desc subject_layer_desc(const struct subject *subject, int64_t max_batch);

#endif
