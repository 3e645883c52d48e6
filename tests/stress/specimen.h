/* SPDX-License-Identifier: MIT */
#ifndef MGLU_TEST_SPECIMEN_H
#define MGLU_TEST_SPECIMEN_H

#include <mglu/mglu.h>

#include <stdbool.h>

/** Number of kinds of layers: all dtypes, both kinds, routing, a down-projection, kernels for one and many tokens. */
enum { SPECIMENS = 8 };

/** A layer with made-up numbers, the same for the same number, and an input for it. */
struct specimen {
    mglu_weights_desc weights;
    mglu_layer_desc layer; /**< max_batch is the batch of the forward */
    float *x;
    size_t x_size, y_size; /**< bytes */
    void *memory[4];       /**< what the descs point to */
};

/** An array of made-up numbers in -0.5..0.5, to be freed. */
float *specimen_numbers(size_t count, uint32_t *seed);

void specimen_make(struct specimen *specimen, size_t number);
void specimen_free(struct specimen *specimen);

/** What one forward of a specimen needs. Weights and layer may be those of another user, which then owns them. */
struct user {
    const struct specimen *specimen;
    mglu_weights *weights;
    mglu_layer *layer;
    mglu_queue *queue;
    mglu_memory *workspace, *x, *y;
    bool borrows_weights, borrows_layer;
};

/** Makes what the user lacks: it may have weights, and a layer of them. */
void user_open(struct user *user, mglu_device *device, const struct specimen *specimen);
void user_close(struct user *user);

/** One forward; y has the specimen's y_size. */
void user_forward(struct user *user, float *y);

/** Opens, computes and closes. */
void specimen_compute(const struct specimen *specimen, mglu_device *device, float *y);

/** A context for this backend and instruction set (NULL: no cap), with this hook or NULL. */
mglu_device *open_device(mglu_context **context, const char *backend, const char *max_isa,
                         const mglu_parallel *parallel);

#endif
