/* SPDX-License-Identifier: MIT */
#ifndef MGLU_GGML_H
#define MGLU_GGML_H

/*
 * Layers of mglu as operators of ggml graphs, computed by the threads that compute the graph.
 */

#include <ggml.h>
#include <mglu/mglu.h>
#include <stdatomic.h>
#include <stdbool.h>

/* The threads in one call of an operator: the first runs mglu_forward(), the others execute tasks of its loops. */
struct mglu_ggml_team {
    atomic_bool open;     /* there is a loop whose tasks may be taken */
    atomic_int inside;    /* threads that read the members of the loop */
    atomic_bool finished; /* mglu_forward() has returned */
    atomic_int left;      /* threads that have left the operator */
    atomic_llong next;    /* of the loop: the first task that is not taken */
    int64_t count;
    mglu_task task;
    void *argument;
};

/* One operator. Members without a comment are the operator's own: zero at first. */
struct mglu_ggml {
    mglu_layer *layer;     /* on a device with host memory */
    enum ggml_type y_type; /* the layer's y_dtype */
    int64_t y_columns;
    void *workspace; /* operators that are never computed at the same time may share it */
    size_t workspace_size;
    mglu_status status; /* set when mglu_forward() fails; y is then undefined */
    struct mglu_ggml_team team;
};

/* Adds y = layer(x) to a graph. x is contiguous, of the layer's x_dtype, and has hidden_size columns. */
struct ggml_tensor *mglu_ggml_apply(struct ggml_context *graph, struct mglu_ggml *op, struct ggml_tensor *x);

/*
 * Describes a contiguous matrix for mglu_weights_desc. Floats are used where they are, with MGLU_WEIGHTS_BORROW, if
 * they are aligned to 64 bytes and rows are whole groups of 32 columns. The blocks of q8_0 and q4_0 are repacked to
 * `*packed`, which is to be freed after the weights; NULL for floats.
 */
mglu_status mglu_ggml_matrix(const struct ggml_tensor *tensor, mglu_array *matrix, void **packed);

#endif
