/* SPDX-License-Identifier: MIT */
#ifndef MGLU_WEIGHTS_H
#define MGLU_WEIGHTS_H

/**
 * @file
 * The parameters of a layer.
 */

#include <mglu/device.h>

MGLU_BEGIN_DECLS

/** The parameters of one layer on one device. Immutable: any number of layers, queues and threads may share them. */
typedef struct mglu_weights mglu_weights;

/** Flags of mglu_weights_desc. */
enum {
    /**
     * NaN and infinite weights are accepted and follow docs/semantics.md, row 4, instead of being refused. They are
     * still refused for a quantised dtype, which has no such values.
     */
    MGLU_WEIGHTS_ALLOW_NONFINITE = 1u << 0,
    /**
     * `weight`, `value_weight`, `down` and MGLU_MASK_WORDS masks already in the packed layout (stored dtype, row stride
     * of mglu_packed_weight_stride_bytes(), scales likewise, 64-byte aligned, zero padding) are used in place by
     * devices with host memory: they must then outlive the weights and must not change. Other arrays are copied as
     * without the flag. An array with that stride and alignment is taken to be in the layout: its last row has padding
     * too.
     */
    MGLU_WEIGHTS_BORROW = 1u << 1,
    /**
     * As MGLU_WEIGHTS_BORROW, but `weight`, `value_weight`, `down` and masks that would be copied are refused, and
     * mglu_last_error() says why: another dtype, stride, alignment or form of masks (MGLU_ERROR_INVALID_ARGUMENT), or a
     * device with memory of its own (MGLU_ERROR_UNSUPPORTED). Biases and routers are small: they are copied.
     */
    MGLU_WEIGHTS_REQUIRE_BORROW = 1u << 2,
    /**
     * The caller guarantees that all elements and scales are finite, and that padding is zero, of masks too. It is not
     * checked, so that arrays used in place are not read: a mapped file is loaded when a forward needs it. Where it
     * does not hold, forward may give NaN or other numbers, without an error; it reads and writes no other memory.
     */
    MGLU_WEIGHTS_CHECKED = 1u << 3
};

/**
 * The parameters of a layer, as dense host arrays. h = hidden_size, d = intermediate_size, n_m = n_masks. Source arrays
 * are read during the call only, unless borrowed. They are f32, f16 or bf16; `weight`, `value_weight` and `down` may
 * also be quantised, but only as `dtype`: they are then copied. See mglu_pack_weights().
 */
typedef struct mglu_weights_desc {
    uint32_t struct_size;      /**< sizeof(mglu_weights_desc) */
    uint32_t flags;            /**< MGLU_WEIGHTS_* or 0 */
    mglu_kind kind;            /**< masked or plain */
    mglu_dtype dtype;          /**< of weight, value_weight and down as stored; sources are converted to it */
    int64_t hidden_size;       /**< h, inputs; 0 is valid: output depends on biases only */
    int64_t intermediate_size; /**< d, outputs of the projection; 0 is valid: the projection has no outputs */
    int64_t output_size;       /**< outputs of the down-projection; 0 with `down.data` NULL: none */
    int32_t n_masks;           /**< 1..MGLU_MAX_MASKS when masked; 0 when plain */
    int32_t reserved;          /**< 0 */
    mglu_array weight;         /**< masked: W [d][h]. Plain: the gate matrix W_g [d][h] */
    mglu_array value_weight;   /**< plain: the value matrix W_v [d][h]. Masked: absent */
    mglu_mask_array masks;     /**< masked: M. Plain: absent */
    mglu_array gate_bias;      /**< optional [n_m][d] (plain: [1][d]), added to the gate before g */
    mglu_array value_bias;     /**< optional [n_m][d] (plain: [1][d]), added to the value */
    mglu_array router;         /**< optional, masked only: [n_m][h], gives the logits of top-K routing */
    mglu_array down;           /**< optional W_o [output_size][d] */
    mglu_array down_bias;      /**< optional [1][output_size], only with `down` */
    /** Threads for this call, in place of those of the context; as in mglu_forward_args. NULL: the context's. */
    const mglu_parallel *parallel;
} mglu_weights_desc;
#define MGLU_WEIGHTS_DESC_INIT MGLU_INIT(mglu_weights_desc) /**< its size, else zeros */

/** Memory use of weights. */
typedef struct mglu_weights_info {
    uint32_t struct_size;      /**< sizeof(mglu_weights_info) */
    int32_t n_masks;           /**< as in the desc, like those that follow */
    mglu_kind kind;            /**< masked or plain */
    mglu_dtype dtype;          /**< as stored */
    int64_t hidden_size;       /**< h */
    int64_t intermediate_size; /**< d */
    int64_t output_size;       /**< of the down-projection; 0: none */
    uint64_t device_bytes;     /**< all memory the backend holds for them, borrowed arrays included */
    uint64_t projection_bytes; /**< of that, W and the masks (plain: both matrices) */
    uint64_t borrowed_bytes;   /**< of device_bytes, the caller's arrays that are used in place */
} mglu_weights_info;
#define MGLU_WEIGHTS_INFO_INIT MGLU_INIT(mglu_weights_info) /**< its size, else zeros */

/**
 * Packs the parameters and puts them on the device. Packing and checks are loops whose tasks may run on threads: see
 * `parallel`.
 *
 * @return MGLU_ERROR_INVALID_ARGUMENT for a desc that violates the rules above, MGLU_ERROR_UNSUPPORTED for what the
 * device does not support, MGLU_ERROR_NONFINITE for a weight, bias or router element that is not finite.
 */
MGLU_API MGLU_MUST_CHECK mglu_status mglu_weights_create(mglu_device *device, const mglu_weights_desc *desc,
                                                         mglu_weights **weights);

/** Fills `info`, whose struct_size the caller has set. */
MGLU_API MGLU_MUST_CHECK mglu_status mglu_weights_get_info(const mglu_weights *weights, mglu_weights_info *info);

/**
 * A part of a layer, for tensor parallelism: rows first..first + count - 1 of the projection, with their masks and
 * biases, and those columns of W_o. `rows`, whose struct_size the caller has set, gets the desc of the part. It points
 * into the arrays of `whole`: nothing is packed or copied.
 *
 * Without a down-projection, y of a part has those columns of the whole layer's y. With one, the y of all parts add up
 * to that of the whole: down_bias is in the part with row 0 alone, and a residual must be given to one part only.
 *
 * Masks must be MGLU_MASK_WORDS. With a quantised down-projection a part begins at a multiple of 32 rows; the last may
 * have any number. With MGLU_WEIGHTS_BORROW, W and masks of a part are used in place where they (and the scales) begin
 * at a multiple of 64 bytes, as rows of floats always do; columns of W_o are copied, so that
 * MGLU_WEIGHTS_REQUIRE_BORROW is refused with them.
 */
MGLU_API MGLU_MUST_CHECK mglu_status mglu_weights_desc_rows(const mglu_weights_desc *whole, int64_t first,
                                                            int64_t count, mglu_weights_desc *rows);

/**
 * The same of existing weights, which must then outlive those made of the part, whose flags are MGLU_WEIGHTS_BORROW and
 * MGLU_WEIGHTS_CHECKED. MGLU_ERROR_UNSUPPORTED on a device with memory of its own.
 */
MGLU_API MGLU_MUST_CHECK mglu_status mglu_weights_rows(const mglu_weights *weights, int64_t first, int64_t count,
                                                       mglu_weights_desc *rows);

/** Releases the caller's reference and sets the handle to NULL; NULL is accepted. Layers hold their own. */
MGLU_API void mglu_weights_destroy(mglu_weights **weights);

MGLU_END_DECLS

#endif
