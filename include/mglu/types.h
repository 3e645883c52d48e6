/* SPDX-License-Identifier: MIT */
#ifndef MGLU_TYPES_H
#define MGLU_TYPES_H

#include <mglu/status.h>

#include <stddef.h>
#include <stdint.h>

MGLU_BEGIN_DECLS

/** Most masks (mixtures, n_m) a layer can have. */
#define MGLU_MAX_MASKS 16

/** Largest hidden, intermediate or output size. */
#define MGLU_MAX_SIZE ((int64_t)1 << 24)

/** Largest batch. */
#define MGLU_MAX_BATCH ((int64_t)1 << 24)

/**
 * Element types. x, y, biases and routers are f32, f16 or bf16; matrices of weights may be quantised as well.
 *
 * Quantised rows are cut into groups of 32 columns with one f16 scale each, of the same numeric meaning as GGUF's types
 * of these names. How they lie in memory, and how floats become them, is in mglu/pack.h.
 */
typedef enum mglu_dtype {
    MGLU_DTYPE_F32 = 0,
    MGLU_DTYPE_F16 = 1,  /**< IEEE binary16 */
    MGLU_DTYPE_BF16 = 2, /**< upper half of a binary32 */
    MGLU_DTYPE_Q8_0 = 3, /**< value = scale * int8: 8.5 bits a weight */
    MGLU_DTYPE_Q4_0 = 4  /**< value = scale * (nibble - 8): 4.5 bits a weight */
} mglu_dtype;

/**
 * How many values there are, for tables and loops; no enumerator, so that compilers still name those that a switch
 * lacks. Later versions have more: what a library that is found at run time knows, mglu_dtype_name() says.
 */
#define MGLU_DTYPE_COUNT (MGLU_DTYPE_Q4_0 + 1)

/** The gating function g. Accuracy and limits at ±Inf are in docs/semantics.md. */
typedef enum mglu_activation {
    MGLU_ACTIVATION_SILU = 0,      /**< g·sigmoid(beta·g): SwiGLU, SwiMGLU */
    MGLU_ACTIVATION_GELU_ERF = 1,  /**< g·Phi(g), exact form: GeGLU, GeMGLU */
    MGLU_ACTIVATION_GELU_TANH = 2, /**< the tanh approximation of GELU */
    MGLU_ACTIVATION_RELU = 3,      /**< max(g, 0), NaN stays NaN: ReGLU, ReMGLU */
    MGLU_ACTIVATION_SIGMOID = 4,   /**< the original GLU of Dauphin et al. */
    MGLU_ACTIVATION_IDENTITY = 5   /**< the bilinear layer */
} mglu_activation;

/** As MGLU_DTYPE_COUNT. */
#define MGLU_ACTIVATION_COUNT (MGLU_ACTIVATION_IDENTITY + 1)

/** Masked (arXiv 2506.23225, eq. 2 and 3) or plain (eq. 1) gated linear unit. */
typedef enum mglu_kind {
    MGLU_KIND_MASKED = 0, /**< one shared matrix and n_m binary masks */
    MGLU_KIND_PLAIN = 1   /**< two matrices, no masks */
} mglu_kind;

/** Name as in files and on command lines ("f16", "gelu_erf"); NULL for a value not listed. Static storage. */
MGLU_API const char *mglu_dtype_name(mglu_dtype dtype);
MGLU_API const char *mglu_activation_name(mglu_activation activation);

/** The value of a name; MGLU_ERROR_INVALID_ARGUMENT with the list of known names for another text. */
MGLU_API MGLU_MUST_CHECK mglu_status mglu_dtype_from_name(const char *name, mglu_dtype *dtype);
MGLU_API MGLU_MUST_CHECK mglu_status mglu_activation_from_name(const char *name, mglu_activation *activation);

/** Bytes of one element of an unquantised dtype; 0 for a quantised or unknown one. */
MGLU_API size_t mglu_dtype_size(mglu_dtype dtype);

/** 1 for q8_0 and q4_0, 0 for any other value. */
MGLU_API int mglu_dtype_is_quantised(mglu_dtype dtype);

/**
 * Converts `count` elements between f32, f16 and bf16, rounding to nearest even whatever the caller's rounding mode.
 * NaN stays NaN, subnormals are kept. Source and target do not overlap; neither needs alignment.
 */
MGLU_API MGLU_MUST_CHECK mglu_status mglu_convert(const void *source, mglu_dtype source_dtype, void *target,
                                                  mglu_dtype target_dtype, size_t count);

/** Index of the first of `count` elements (f32, f16 or bf16, any alignment) that is NaN or infinite, or `count`. */
MGLU_API size_t mglu_first_nonfinite(const void *array, mglu_dtype dtype, size_t count);

/**
 * A dense host array that a call reads and does not keep. Needs the alignment of nothing wider than a byte.
 *
 * A matrix may be quantised already: `data` then has the quants, one int8 a column (q8_0) or 16 bytes a group (q4_0),
 * and `scales` an f16 for each group of 32 columns of a row.
 */
typedef struct mglu_array {
    const void *data;        /**< NULL: absent */
    mglu_dtype dtype;        /**< f32, f16 or bf16; q8_0 or q4_0 only where a call says that it takes them */
    size_t row_stride;       /**< bytes from row to row; 0: rows follow each other without a gap */
    const void *scales;      /**< f16 [rows][ceil(columns / 32)] when quantised, else NULL */
    size_t scale_row_stride; /**< as row_stride, of the scales */
} mglu_array;

/** How the masks of an mglu_mask_array are written. 1 sends a weight to the gate, 0 to the value. */
typedef enum mglu_mask_form {
    MGLU_MASK_WORDS = 0,       /**< packed format v1: uint32 [d][ceil(h/32)][n_m], see mglu/pack.h */
    MGLU_MASK_BYTES = 1,       /**< uint8 [n_m][d][h], each 0 or 1 */
    MGLU_MASK_LOGITS_F32 = 2,  /**< f32 [n_m][d][h]; the mask is logit > 0. NaN is refused */
    MGLU_MASK_LOGITS_F16 = 3,  /**< the same in f16 */
    MGLU_MASK_LOGITS_BF16 = 4, /**< the same in bf16 */
    MGLU_MASK_BITS = 5         /**< uint8 [n_m][d][ceil(h/8)], LSB first: numpy.packbits(..., bitorder="little") */
} mglu_mask_form;

/** n_m masks in host memory, without gaps. */
typedef struct mglu_mask_array {
    const void *data; /**< NULL: absent */
    mglu_mask_form form;
} mglu_mask_array;

MGLU_END_DECLS

#endif
