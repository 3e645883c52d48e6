/* SPDX-License-Identifier: MIT */
#ifndef MGLU_REF_TRAIN_KERNELS_H
#define MGLU_REF_TRAIN_KERNELS_H

#include "backends/ref/kernels/estimate.h"
#include "backends/ref/kernels/kernels.h"

/*
 * The equations of mglu/train.h in double, with the error bound of docs/semantics.md, "Training", term by term. A
 * number of streams is 1 + n_m: stream 0 is of the whole matrix, stream 1 + i of mask i.
 */

/* The weights of one token's masks; 0 where a mask is not selected. */
struct mglu_ref_shares {
    struct estimate p[MGLU_MAX_MASKS];
    int selected[MGLU_MAX_MASKS];
};

/* One call. Its arrays are the caller's of these functions. */
struct mglu_ref_train_call {
    mglu_train_desc desc;
    mglu_layer_desc activation; /* has g and beta only */
    int64_t batch;
    mglu_train_inputs inputs;
    mglu_input dy;                  /* without data: 0 */
    double *x;                      /* [h], scratch */
    struct mglu_ref_shares *shares; /* [batch] */
    struct estimate *sums;          /* [batch][d][streams]: t, s_i */
    struct estimate *deltas;        /* the same: dt, ds_i */
};

struct mglu_ref_train_call mglu_ref_train_call(const mglu_train_desc *desc, int64_t batch,
                                               const mglu_train_inputs *inputs);

static inline size_t mglu_ref_streams(const mglu_train_desc *desc)
{
    return 1 + (size_t)desc->n_masks;
}

/* Elements of `sums` and of `deltas`. */
static inline size_t mglu_ref_stream_count(const mglu_train_desc *desc, int64_t batch)
{
    return (size_t)batch * (size_t)desc->intermediate_size * mglu_ref_streams(desc);
}

/* The first of the streams of a row of a token. */
static inline struct estimate *mglu_ref_streams_at(const struct mglu_ref_train_call *call, struct estimate *array,
                                                   int64_t token, int64_t row)
{
    return array + (size_t)(token * call->desc.intermediate_size + row) * mglu_ref_streams(&call->desc);
}

/* What one mask contributes to one row of a token. */
struct mglu_ref_terms {
    struct estimate y;      /* p g(gate) value */
    struct estimate dgate;  /* dy p g'(gate) value */
    struct estimate dvalue; /* dy p g(gate) */
    struct estimate dp;     /* dy g(gate) value */
};

/* train_streams.c, in the order in which they are called. */
void mglu_ref_train_shares(struct mglu_ref_train_call *call);
void mglu_ref_train_sums(struct mglu_ref_train_call *call);
void mglu_ref_train_deltas(struct mglu_ref_train_call *call);
/* Zeros for a mask that is not selected. */
struct mglu_ref_terms mglu_ref_train_terms(const struct mglu_ref_train_call *call, int64_t token, int64_t row,
                                           int32_t mask);
/* An element of W; its error is that of rounding it to the call's dtype. */
struct estimate mglu_ref_train_weight(const struct mglu_ref_train_call *call, int64_t row, int64_t column);

/* What a call computes: y, and the gradients. */
enum mglu_ref_result {
    MGLU_REF_Y,
    MGLU_REF_DX,
    MGLU_REF_DWEIGHT,
    MGLU_REF_DLOGITS,
    MGLU_REF_DGATE_BIAS,
    MGLU_REF_DVALUE_BIAS,
    MGLU_REF_DROUTER_LOGITS,
    MGLU_REF_RESULTS
};

/* Receives an element. */
typedef void mglu_ref_sink(void *user, int64_t row, int64_t column, struct estimate element);

/* train_results.c: computes every element of a result, of rows of mglu_ref_train_columns(). */
void mglu_ref_train_result(const struct mglu_ref_train_call *call, enum mglu_ref_result result, mglu_ref_sink *sink,
                           void *user);
int64_t mglu_ref_train_columns(const mglu_train_desc *desc, enum mglu_ref_result result);
/* The dtype that a result is stored in. */
mglu_dtype mglu_ref_train_dtype(const mglu_train_desc *desc, enum mglu_ref_result result);

#endif
