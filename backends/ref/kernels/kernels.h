/* SPDX-License-Identifier: MIT */
#ifndef MGLU_REF_KERNELS_H
#define MGLU_REF_KERNELS_H

#include "backends/ref/ref.h"
#include "common/core/ieee.h"

/* activation.c: g in double, and how far an f32 backend's g(gate) may be off when its gate is off by `error`. */
double mglu_ref_activate(const mglu_layer_desc *desc, double gate);
double mglu_ref_activation_error(const mglu_layer_desc *desc, double gate, double error);
/* The same of its derivative g'. */
double mglu_ref_slope(const mglu_layer_desc *desc, double gate);
double mglu_ref_slope_error(const mglu_layer_desc *desc, double gate, double error);

/* A row of a packed matrix. */
struct mglu_ref_row {
    const void *data, *scales; /* scales: NULL unless the dtype is quantised */
    mglu_dtype dtype;
};

static inline struct mglu_ref_row mglu_ref_row(const mglu_packed_matrix *matrix, mglu_dtype dtype, int64_t row)
{
    const unsigned char *data = matrix->data, *scales = matrix->scales;

    return (struct mglu_ref_row){
        .data = data + (size_t)row * matrix->stride_bytes,
        .scales = scales ? scales + (size_t)row * matrix->scale_stride_bytes : NULL,
        .dtype = dtype,
    };
}

/* Sums of one row of a matrix with one x. */
struct mglu_ref_sums {
    double total;                 /* sum of w x */
    double magnitude;             /* T: sum of |w x| */
    double flushed;               /* the error where subnormal w, x and w x are flushed to 0 */
    double quantisation;          /* the error where x is quantised to 8 bits; 0 for rows that are not quantised */
    double gate[MGLU_MAX_MASKS];  /* sums over the elements of each listed mask */
    double value[MGLU_MAX_MASKS]; /* and over the other elements */
};

/*
 * sums.c: `row` has `columns` elements; `words` is the row's first mask word or NULL, `ids` the n_ids masks to sum.
 * Elements are selected by their bit, never multiplied by it.
 */
void mglu_ref_row_sums(struct mglu_ref_row row, int64_t columns, const double *x, const uint32_t *words,
                       int32_t n_masks, const int32_t *ids, int32_t n_ids, struct mglu_ref_sums *sums);

/*
 * The error of a sum over a group whose x is quantised to 8 bits: `largest` is the maximum |x|, `weights` the sum of
 * |w|. docs/semantics.md, "Error".
 */
double mglu_ref_quantisation_error(double largest, double weights);

/* The error bound of an f32 backend of this class for a sum of n terms: docs/semantics.md, "Error". */
double mglu_ref_sum_error(mglu_accuracy accuracy, int64_t n, const struct mglu_ref_sums *sums);

/* The masks that a token uses, and their weights. */
struct mglu_ref_routing {
    int32_t count;
    int32_t ids[MGLU_MAX_MASKS];
    double p[MGLU_MAX_MASKS];
    double p_error[MGLU_MAX_MASKS];
};

/* routing.c: 0 when a caller's id is out of range; the weights are then NaN. */
int mglu_ref_route(const struct mglu_ref_layer *layer, const mglu_forward_args *args, int64_t token, const double *x,
                   const mglu_accuracy *accuracy, struct mglu_ref_routing *routing);

/*
 * The top_k largest of `count` logits and their softmax, where each logit may be off by logit_error. NaN weights where
 * a logit is NaN. `routing` is zero before.
 */
void mglu_ref_route_logits(const double *logits, int32_t count, int32_t top_k, double logit_error,
                           struct mglu_ref_routing *routing);

/* Doubles of scratch that one token needs. */
size_t mglu_ref_token_scratch(const mglu_packed_weights *packed);

/*
 * token.c: one token's y in double and, with an accuracy class, the tolerance of each element. Returns 0 when its
 * routing was out of range.
 */
int mglu_ref_token(const struct mglu_ref_layer *layer, const mglu_forward_args *args, int64_t token,
                   const mglu_accuracy *accuracy, double *scratch, double *want, double *tolerance);

#endif
