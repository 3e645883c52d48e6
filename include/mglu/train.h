/* SPDX-License-Identifier: MIT */
#ifndef MGLU_TRAIN_H
#define MGLU_TRAIN_H

/**
 * @file
 * Training: a forward that keeps what the backward needs, and the backward. On devices with host memory only.
 */

#include <mglu/device.h>
#include <mglu/layer.h>

MGLU_BEGIN_DECLS

/**
 * The plan of one masked projection to train. It holds no parameters, since they change at each step: each call gets
 * them. Immutable once made, so that threads may share it, each with its own workspace and `saved`.
 *
 *   t       = x W^T                 s_i     = x (M_i * W)^T              M_i = 1 where logit_i > 0, else 0
 *   gate_i  = s_i + gate_bias_i     value_i = t - s_i + value_bias_i
 *   y       = sum_i p_i g(gate_i) * value_i                              p_i = 1 without routing
 *
 * The masks are a step function of their logits. The straight-through rule is used: the gradient of M_i, taken as a
 * continuous variable, is passed on to the logits. With dy the gradient of y:
 *
 *   dgate_i = dy p_i g'(gate_i) value_i     dvalue_i = dy p_i g(gate_i)
 *   dt      = sum_i dvalue_i                ds_i     = dgate_i - dvalue_i
 *   dx      = dt W + sum_i ds_i (M_i * W)
 *   dweight = dt^T x + sum_i M_i * (ds_i^T x)
 *   dlogits_i     = W * (ds_i^T x)
 *   dgate_bias_i  = sum of dgate_i over the batch, dvalue_bias_i = sum of dvalue_i
 *   drouter_logits: through the softmax, of dp_i = sum of dy g(gate_i) value_i over d
 *
 * Routing: top_k = K > 0 sums over the masks of the K largest router logits of each token (the lower id on a tie), p =
 * softmax over those K. The caller computes the logits (x W_r^T) and adds drouter_logits W_r to dx.
 *
 * Sums are f32. Results have the same bits on every number of threads. Error bounds are in docs/semantics.md.
 */
typedef struct mglu_train mglu_train;

/** Flags of mglu_train_desc. */
enum {
    MGLU_TRAIN_GATE_BIAS = 1u << 0, /**< there is a gate bias: every call gives it */
    MGLU_TRAIN_VALUE_BIAS = 1u << 1 /**< the same of the value bias */
};

/** The operation. Zeros are SiLU, beta 1, f32, no biases, no routing. */
typedef struct mglu_train_desc {
    uint32_t struct_size;       /**< sizeof(mglu_train_desc) */
    uint32_t flags;             /**< MGLU_TRAIN_*_BIAS or 0 */
    int64_t hidden_size;        /**< h, at least 1 */
    int64_t intermediate_size;  /**< d, at least 1 */
    int32_t n_masks;            /**< n_m, 1..MGLU_MAX_MASKS */
    int32_t top_k;              /**< 0: no routing; else 1..n_m */
    mglu_activation activation; /**< g */
    float silu_beta;            /**< beta of SiLU, finite; 0 means 1. Must be 0 for other activations */
    /**
     * f32 or bf16: of x, y, dy and dx, and of the factors of all products. With bf16 devices may round to it what is
     * f32 otherwise: a W in f32, t and s_i, dt and ds_i. Sums are f32 in any case.
     */
    mglu_dtype dtype;
    int32_t reserved;  /**< 0 */
    int64_t max_batch; /**< largest batch of a call; at least 1 */
} mglu_train_desc;
#define MGLU_TRAIN_DESC_INIT MGLU_INIT(mglu_train_desc) /**< its size, else zeros */

/**
 * What forward and backward read, in host memory: the batch and the parameters of this step. Elements need no more
 * alignment than their own size.
 */
typedef struct mglu_train_inputs {
    mglu_input x;             /**< [batch][h], of the desc's dtype */
    mglu_array weight;        /**< W [d][h], f32 or bf16 whatever the desc's dtype; rows may be apart */
    mglu_mask_array masks;    /**< M: the logits, or any other form. Where they are logits, NaN is refused */
    const float *gate_bias;   /**< [n_m][d]; present exactly with MGLU_TRAIN_GATE_BIAS */
    const float *value_bias;  /**< [n_m][d]; present exactly with MGLU_TRAIN_VALUE_BIAS */
    mglu_input router_logits; /**< f32 [batch][n_m]; present exactly with top_k > 0. NaN makes its token NaN */
} mglu_train_inputs;

/** One forward call. Members without a use stay zero. */
typedef struct mglu_train_forward_args {
    uint32_t struct_size;     /**< sizeof(mglu_train_forward_args) */
    uint32_t reserved;        /**< 0 */
    int64_t batch;            /**< tokens, 0..max_batch; 0: no operation, and no pointer is needed */
    mglu_train_inputs inputs; /**< x and the parameters */
    mglu_output y;            /**< [batch][d], of the desc's dtype */
    /** For the backward: mglu_train_saved_size() bytes or more, 64-byte aligned. NULL: nothing is kept. */
    void *saved;
    size_t saved_size;             /**< bytes of it */
    void *workspace;               /**< mglu_train_workspace_size() bytes or more, 64-byte aligned */
    size_t workspace_size;         /**< bytes of it */
    const mglu_parallel *parallel; /**< as in mglu_forward_args */
} mglu_train_forward_args;
#define MGLU_TRAIN_FORWARD_ARGS_INIT MGLU_INIT(mglu_train_forward_args) /**< its size, else zeros */

/** Flags of mglu_train_backward_args. */
enum {
    /**
     * dweight, dlogits, dgate_bias and dvalue_bias are added to what the arrays have, for gradients over several
     * batches. dx and drouter_logits belong to this batch alone: they are written in any case.
     */
    MGLU_TRAIN_ACCUMULATE = 1u << 0
};

/**
 * One backward call. A gradient that is NULL is not computed; at least one must be given where there are tokens. None
 * may overlap another, nor anything that is read.
 */
typedef struct mglu_train_backward_args {
    uint32_t struct_size;          /**< sizeof(mglu_train_backward_args) */
    uint32_t flags;                /**< MGLU_TRAIN_ACCUMULATE or 0 */
    int64_t batch;                 /**< that of the forward; 0: gradients of parameters are zeros, or unchanged */
    mglu_train_inputs inputs;      /**< with the values that the forward had */
    mglu_input dy;                 /**< [batch][d], of the desc's dtype */
    const void *saved;             /**< as the forward wrote it; not changed */
    size_t saved_size;             /**< bytes of it */
    mglu_output dx;                /**< [batch][h], of the desc's dtype */
    float *dweight;                /**< [d][h] */
    float *dlogits;                /**< [n_m][d][h], whatever the form of the masks */
    float *dgate_bias;             /**< [n_m][d]; only with MGLU_TRAIN_GATE_BIAS */
    float *dvalue_bias;            /**< [n_m][d]; only with MGLU_TRAIN_VALUE_BIAS */
    mglu_output drouter_logits;    /**< f32 [batch][n_m], 0 where a mask is not selected; only with top_k > 0 */
    void *workspace;               /**< mglu_train_workspace_size() bytes or more, 64-byte aligned */
    size_t workspace_size;         /**< bytes of it */
    const mglu_parallel *parallel; /**< as in mglu_forward_args */
} mglu_train_backward_args;
#define MGLU_TRAIN_BACKWARD_ARGS_INIT MGLU_INIT(mglu_train_backward_args) /**< its size, else zeros */

/**
 * Makes a plan.
 *
 * @return MGLU_ERROR_INVALID_ARGUMENT for a desc that violates the rules above. MGLU_ERROR_UNSUPPORTED for a device
 *         that does not train: one with memory of its own, or of a backend without these functions.
 */
MGLU_API MGLU_MUST_CHECK mglu_status mglu_train_create(mglu_device *device, const mglu_train_desc *desc,
                                                       mglu_train **train);

/** Frees a plan that no call uses any more and sets the handle to NULL; NULL is accepted. */
MGLU_API void mglu_train_destroy(mglu_train **train);

/**
 * Bytes of workspace that a forward or a backward of `batch` tokens needs; never fewer for more tokens. 0 for a batch
 * that is not in 1..max_batch.
 */
MGLU_API size_t mglu_train_workspace_size(const mglu_train *train, int64_t batch);

/** The same of `saved`. */
MGLU_API size_t mglu_train_saved_size(const mglu_train *train, int64_t batch);

/**
 * y, and what the backward needs. `queue` may be NULL: the work is done when the call returns. It allocates nothing.
 *
 * @return MGLU_ERROR_INVALID_ARGUMENT for a missing pointer, a stride shorter than a row, a batch over max_batch, a
 *         workspace or `saved` too small, a detectable overlap, or a NaN mask logit, which is named; y and `saved` are
 *         then not written.
 */
MGLU_API MGLU_MUST_CHECK mglu_status mglu_train_forward(mglu_train *train, mglu_queue *queue,
                                                        const mglu_train_forward_args *args);

/** The gradients. As mglu_train_forward(); in case of an error no gradient is written. */
MGLU_API MGLU_MUST_CHECK mglu_status mglu_train_backward(mglu_train *train, mglu_queue *queue,
                                                         const mglu_train_backward_args *args);

/** One result of the oracle, contiguous; either pointer may be NULL. */
typedef struct mglu_train_expected {
    double *want;      /**< the expected values, not rounded */
    double *tolerance; /**< how far each element of another device's result may be from it, rounding included */
} mglu_train_expected;

/** One call of the oracle. */
typedef struct mglu_train_reference_args {
    uint32_t struct_size;               /**< sizeof(mglu_train_reference_args) */
    uint32_t reserved;                  /**< 0 */
    int64_t batch;                      /**< as in mglu_train_forward_args */
    mglu_train_inputs inputs;           /**< as in mglu_train_forward_args */
    mglu_input dy;                      /**< as in mglu_train_backward_args; absent: only y */
    mglu_train_expected y;              /**< [batch][d] */
    mglu_train_expected dx;             /**< [batch][h] */
    mglu_train_expected dweight;        /**< [d][h] */
    mglu_train_expected dlogits;        /**< [n_m][d][h] */
    mglu_train_expected dgate_bias;     /**< [n_m][d] */
    mglu_train_expected dvalue_bias;    /**< [n_m][d] */
    mglu_train_expected drouter_logits; /**< [batch][n_m] */
} mglu_train_reference_args;
#define MGLU_TRAIN_REFERENCE_ARGS_INIT MGLU_INIT(mglu_train_reference_args) /**< its size, else zeros */

/**
 * The oracle: expected results in double, and their tolerances. Only the reference backend ("ref") has it; others give
 * MGLU_ERROR_UNSUPPORTED. Allocates memory. Gradients are those of a backward without MGLU_TRAIN_ACCUMULATE.
 */
MGLU_API MGLU_MUST_CHECK mglu_status mglu_train_reference(mglu_train *train, const mglu_train_reference_args *args);

MGLU_END_DECLS

#endif
