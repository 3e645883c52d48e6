/* SPDX-License-Identifier: MIT */
#ifndef MGLU_LAYER_H
#define MGLU_LAYER_H

/**
 * @file
 * Layers and their forward.
 */

#include <mglu/weights.h>

MGLU_BEGIN_DECLS

/**
 * A layer is the plan of one operation: weights, descriptor, selected kernels. Immutable once made, so that threads may
 * share it, each with its own queue and workspace.
 *
 *   gate_i  = x (M_i * W)^T       + gate_bias_i          (plain: x W_g^T + gate_bias)
 *   value_i = x ((1 - M_i) * W)^T + value_bias_i         (plain: x W_v^T + value_bias)
 *   z       = sum_i p_i g(gate_i) * value_i              p_i = 1 without routing; arXiv 2506.23225, eq. 1 to 3
 *   y       = z W_o^T + down_bias + residual             with a down-projection; else y = z + residual
 *
 * Routing (appendix B.2): top_k = 0 sums over all masks. With top_k = K > 0 each token sums K terms only; ids and
 * weights come from the caller, or from the router: the K largest of x W_r^T (the lower id on a tie) in descending
 * order, p = softmax over those K.
 *
 * Sums accumulate in f32 and y is rounded once. Error bounds and all special values are in docs/semantics.md.
 */
typedef struct mglu_layer mglu_layer;

/** Flags of mglu_layer_desc. */
enum {
    /**
     * Bitwise identical results on every CPU instruction set and for every batch size (not only from run to run).
     * Slower: on AVX2 with two or more masks, by up to a factor of two with 16, on AVX-512 for batches of 4 tokens and
     * more, and on every instruction set for batches of 8 and more.
     */
    MGLU_LAYER_REPRODUCIBLE = 1u << 0,
    /**
     * Where weights are quantised, x and z may be quantised to 8 bits too, in groups of 32 with one scale each, so that
     * integers are multiplied: on CPUs up to twice as fast, at accuracy class C. This is a permission: devices without
     * such kernels, and reproducible layers, ignore it. mglu_layer_accuracy() returns which class applies.
     */
    MGLU_LAYER_ALLOW_QUANTISED_X = 1u << 1
};

/** The operation. Zeros are SiLU, beta 1, f32 in and out, no routing. */
typedef struct mglu_layer_desc {
    uint32_t struct_size;       /**< sizeof(mglu_layer_desc) */
    uint32_t flags;             /**< MGLU_LAYER_* or 0 */
    mglu_activation activation; /**< g */
    float silu_beta;            /**< beta of SiLU, finite; 0 means 1. Must be 0 for other activations */
    mglu_dtype x_dtype;         /**< f32, f16 or bf16 */
    mglu_dtype y_dtype;         /**< f32, f16 or bf16; the residual's dtype too */
    int32_t top_k;              /**< 0: no routing; else 1..n_m */
    int32_t reserved;           /**< 0 */
    int64_t max_batch;          /**< largest batch of a forward; at least 1 */
} mglu_layer_desc;
#define MGLU_LAYER_DESC_INIT MGLU_INIT(mglu_layer_desc) /**< its size, else zeros */

/** A batch of rows to read. Row b starts at data + byte_offset + b * row_stride elements. */
typedef struct mglu_input {
    const void *data;   /**< host pointer, or what the backend's header says (CUdeviceptr, cl_mem) */
    size_t byte_offset; /**< honoured on every device */
    int64_t row_stride; /**< elements; 0: rows are contiguous */
} mglu_input;

/** A batch of rows to write. Memory between the rows is never written. */
typedef struct mglu_output {
    void *data;         /**< as in mglu_input, like those that follow */
    size_t byte_offset; /**< to the first row */
    int64_t row_stride; /**< elements; 0: rows are contiguous */
} mglu_output;

/** One forward call. Unused inputs stay zero. Elements need no more alignment than their own size. */
typedef struct mglu_forward_args {
    uint32_t struct_size; /**< sizeof(mglu_forward_args) */
    uint32_t reserved;    /**< 0 */
    int64_t batch;        /**< tokens, 0..max_batch; 0: no operation */
    mglu_input x;         /**< [batch][h] */
    mglu_output y;        /**< [batch][d], or [batch][output_size] with a down-projection; written, never read */
    /**
     * Optional, shape and dtype of y. May be y itself (same address and stride): then y += layer(x). y must not overlap
     * anything else.
     */
    mglu_input residual;
    mglu_input routing_ids;     /**< int32 [batch][top_k]; absent: the router selects. Duplicates are summed */
    mglu_input routing_weights; /**< f32 [batch][top_k], p; present exactly when routing_ids is */
    void *workspace; /**< device memory, mglu_layer_workspace_size_for() bytes or more, 64-byte aligned; mglu_memory */
    size_t workspace_size; /**< bytes of it */
    /**
     * Threads for this call, in place of those of the context: a host that hands its pool out only inside an operator
     * gives it here. Used during the call only. NULL: the context's. Devices that are not CPUs ignore it. A context
     * with num_threads 1 has no threads of its own and never enters OpenMP.
     */
    const mglu_parallel *parallel;
} mglu_forward_args;
#define MGLU_FORWARD_ARGS_INIT MGLU_INIT(mglu_forward_args) /**< its size, else zeros */

/**
 * Whether a device supports an operation. Array pointers in `weights` count only as present or absent.
 *
 * @return MGLU_OK: yes, for every shape. MGLU_ERROR_UNSUPPORTED: no; mglu_last_error() gives the reason.
 *         MGLU_ERROR_INVALID_ARGUMENT: the operation is not valid on any device.
 */
MGLU_API MGLU_MUST_CHECK mglu_status mglu_supports(const mglu_device *device, const mglu_weights_desc *weights,
                                                   const mglu_layer_desc *layer);

/** Makes a layer: selects, compiles and loads all that forward needs. The layer holds a reference to its weights. */
MGLU_API MGLU_MUST_CHECK mglu_status mglu_layer_create(mglu_weights *weights, const mglu_layer_desc *desc,
                                                       mglu_layer **layer);

/** Frees a layer that no queued forward uses any more and sets the handle to NULL; NULL is accepted. */
MGLU_API void mglu_layer_destroy(mglu_layer **layer);

/** Bytes of workspace that one forward at max_batch needs, sufficient for every smaller batch; may be 0. */
MGLU_API size_t mglu_layer_workspace_size(const mglu_layer *layer);

/**
 * Bytes of workspace that one forward of `batch` tokens needs: a forward of that batch accepts them and, unless they
 * are 0, no fewer. 0 for a batch that is not in 0..max_batch, which forward refuses.
 */
MGLU_API size_t mglu_layer_workspace_size_for(const mglu_layer *layer, int64_t batch);

/**
 * The same before there are weights. Array pointers in `weights` count only as present or absent.
 *
 * @param[out] size What mglu_layer_workspace_size_for() of such a layer on the device will be.
 * @return As mglu_supports(); MGLU_ERROR_INVALID_ARGUMENT for a batch that is not in 0..max_batch.
 */
MGLU_API MGLU_MUST_CHECK mglu_status mglu_workspace_size(const mglu_device *device, const mglu_weights_desc *weights,
                                                         const mglu_layer_desc *layer, int64_t batch, size_t *size);

/**
 * Enqueues y = layer(x). Returns at once on GPUs, after the work on CPUs. Does not allocate, wait or load, so that it
 * can be captured in a CUDA graph. Concurrent forwards need separate workspaces.
 *
 * Devices with host memory need no queue: with NULL the work is done when the call returns, and its errors, such as
 * MGLU_ERROR_BAD_ROUTING, are those of the call.
 *
 * @return MGLU_ERROR_INVALID_ARGUMENT for a missing pointer, a stride shorter than a row, a batch over max_batch, a
 *         workspace too small, a detectable overlap, or, where that can be told, memory that is not the device's, such
 *         as a host pointer given to a GPU; no output is then written. A routing id out of range makes its own token
 *         NaN and is reported by mglu_queue_wait(), or without a queue by this call.
 */
MGLU_API MGLU_MUST_CHECK mglu_status mglu_forward(mglu_layer *layer, mglu_queue *queue, const mglu_forward_args *args);

/** How a device sums, which determines its error bound (docs/semantics.md, "Error"). */
typedef enum MGLU_ENUM32(mglu_accuracy) {
    MGLU_ACCURACY_A = 0, /**< IEEE f32, round to nearest */
    MGLU_ACCURACY_B = 1, /**< tensor cores: f32 with truncation */
    MGLU_ACCURACY_C = 2  /**< as A, with x and z quantised to 8 bits; only with MGLU_LAYER_ALLOW_QUANTISED_X */
} mglu_accuracy;

/** The accuracy class that the layer's kernels guarantee; MGLU_ACCURACY_A for NULL. */
MGLU_API mglu_accuracy mglu_layer_accuracy(const mglu_layer *layer);

/** What a layer costs. */
typedef struct mglu_layer_info {
    uint32_t struct_size;    /**< sizeof(mglu_layer_info) */
    mglu_accuracy accuracy;  /**< as mglu_layer_accuracy() */
    uint64_t workspace_size; /**< as mglu_layer_workspace_size() */
    /**
     * Multiplications and additions for a token: two for each weight and sum that it is part of. Those are one sum of
     * all of W and one for each mask (with top_k: for each of its terms); plain: W_g and W_v; and W_o. Biases,
     * activations, routing and the residual are not counted.
     */
    uint64_t operations;
    /** Packed matrices and masks, which a forward reads at least once whatever its batch (with top_k, all masks). */
    uint64_t weight_bytes;
    /** Of x and y, for each token: a forward moves weight_bytes + batch * token_bytes, or more. */
    uint64_t token_bytes;
    /** What computes it: as mglu_device_info.details, "isa=avx2 threads=2"; valid as the device. */
    const char *details;
} mglu_layer_info;
#define MGLU_LAYER_INFO_INIT MGLU_INIT(mglu_layer_info) /**< its size, else zeros */

/** Fills `info`, whose struct_size the caller has set. */
MGLU_API MGLU_MUST_CHECK mglu_status mglu_layer_get_info(const mglu_layer *layer, mglu_layer_info *info);

/**
 * The oracle: the expected y in double, and how far each element of another device's y may be from it.
 *
 * Only layers of the reference backend ("ref") have it; others give MGLU_ERROR_UNSUPPORTED. Synchronous. `args` is as
 * for mglu_forward() on host memory; y and workspace are ignored. `want` and `tolerance` are [batch][d or output_size]
 * and contiguous; either may be NULL. `want` is not rounded to y's dtype; `tolerance` includes that rounding.
 */
MGLU_API MGLU_MUST_CHECK mglu_status mglu_forward_reference(mglu_layer *layer, const mglu_forward_args *args,
                                                            mglu_accuracy accuracy, double *want, double *tolerance);

MGLU_END_DECLS

#endif
