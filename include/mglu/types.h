/* SPDX-License-Identifier: MIT */
#ifndef MGLU_TYPES_H
#define MGLU_TYPES_H

/**
 * @file
 * Element types, activations, arrays and masks in host memory.
 */

#include <mglu/status.h>

#include <stddef.h>
#include <stdint.h>

MGLU_BEGIN_DECLS

/** Most masks (mixtures, n_m) a layer can have. */
#define MGLU_MAX_MASKS 16

/** Largest hidden, intermediate or output size. */
#define MGLU_MAX_SIZE ((int64_t)1 << 24)

/** Bytes that no struct with a struct_size has more of, in any version: a larger struct_size was not set. */
#define MGLU_MAX_STRUCT_SIZE 4096

/** Largest batch. */
#define MGLU_MAX_BATCH ((int64_t)1 << 24)

/**
 * Element types. x, y, biases and routers are f32, f16 or bf16; matrices of weights may be quantised as well.
 *
 * Quantised rows consist of groups of 32 columns with one f16 scale each, with the same numeric meaning as GGUF's types
 * of these names. mglu/pack.h documents their memory layout and how floats are quantised.
 */
typedef enum MGLU_ENUM32(mglu_dtype) {
    MGLU_DTYPE_F32 = 0,
    MGLU_DTYPE_F16 = 1,  /**< IEEE binary16 */
    MGLU_DTYPE_BF16 = 2, /**< upper half of a binary32 */
    MGLU_DTYPE_Q8_0 = 3, /**< value = scale * int8: 8.5 bits a weight */
    MGLU_DTYPE_Q4_0 = 4  /**< value = scale * (nibble - 8): 4.5 bits a weight */
} mglu_dtype;

/**
 * Number of dtypes, for tables and loops. Not an enumerator, so that compilers still warn about values missing from a
 * switch. Later versions have more: mglu_dtype_name() is NULL for dtypes that the library loaded at run time does not
 * have.
 */
#define MGLU_DTYPE_COUNT (MGLU_DTYPE_Q4_0 + 1)

/** The gating function g. Accuracy and limits at ±Inf are in docs/semantics.md. */
typedef enum MGLU_ENUM32(mglu_activation) {
    MGLU_ACTIVATION_SILU = 0,      /**< g·sigmoid(beta·g): SwiGLU, SwiMGLU */
    MGLU_ACTIVATION_GELU_ERF = 1,  /**< g·Phi(g), exact form: GeGLU, GeMGLU */
    MGLU_ACTIVATION_GELU_TANH = 2, /**< the tanh approximation of GELU */
    MGLU_ACTIVATION_RELU = 3,      /**< max(g, 0), NaN for NaN: ReGLU, ReMGLU */
    MGLU_ACTIVATION_SIGMOID = 4,   /**< the original GLU of Dauphin et al. */
    MGLU_ACTIVATION_IDENTITY = 5   /**< the bilinear layer */
} mglu_activation;

/** As MGLU_DTYPE_COUNT. */
#define MGLU_ACTIVATION_COUNT (MGLU_ACTIVATION_IDENTITY + 1)

/** Masked (arXiv 2506.23225, eq. 2 and 3) or plain (eq. 1) gated linear unit. */
typedef enum MGLU_ENUM32(mglu_kind) {
    MGLU_KIND_MASKED = 0, /**< one shared matrix and n_m binary masks */
    MGLU_KIND_PLAIN = 1   /**< two matrices, no masks */
} mglu_kind;

/** Name of a dtype in files and on command lines ("f16"); NULL for a value not listed. Static storage. */
MGLU_API const char *mglu_dtype_name(mglu_dtype dtype);

/** The same of an activation. */
MGLU_API const char *mglu_activation_name(mglu_activation activation);

/** The dtype of a name; MGLU_ERROR_INVALID_ARGUMENT with the list of known names for another text. */
MGLU_API MGLU_MUST_CHECK mglu_status mglu_dtype_from_name(const char *name, mglu_dtype *dtype);

/** The same of an activation. */
MGLU_API MGLU_MUST_CHECK mglu_status mglu_activation_from_name(const char *name, mglu_activation *activation);

/** Bytes of one element of an unquantised dtype; 0 for a quantised or unknown one. */
MGLU_API size_t mglu_dtype_size(mglu_dtype dtype);

/** 1 for q8_0 and q4_0, 0 for any other value. */
MGLU_API int mglu_dtype_is_quantised(mglu_dtype dtype);

/**
 * Converts `count` elements between f32, f16 and bf16, rounding to nearest even regardless of the caller's rounding
 * mode. NaN stays NaN, subnormals are preserved. Source and target must not overlap; neither needs alignment.
 */
MGLU_API MGLU_MUST_CHECK mglu_status mglu_convert(const void *source, mglu_dtype source_dtype, void *target,
                                                  mglu_dtype target_dtype, size_t count);

/**
 * Index of the first of `count` elements (any alignment) that is NaN or infinite, or `count`. 0 where there is none to
 * read although `count` is not 0: `array` is NULL, or `dtype` is none of f32, f16 and bf16.
 */
MGLU_API size_t mglu_first_nonfinite(const void *array, mglu_dtype dtype, size_t count);

/**
 * A dense host array that is read during a call only. Needs no alignment.
 *
 * A matrix may already be quantised: `data` then has the quants, one int8 per column (q8_0) or 16 bytes per group
 * (q4_0), and `scales` one f16 per group of 32 columns of a row.
 */
typedef struct mglu_array {
    const void *data;          /**< NULL: absent */
    mglu_dtype dtype;          /**< f32, f16 or bf16; q8_0 or q4_0 only where a call's documentation allows it */
    size_t stride_bytes;       /**< bytes from row to row; 0: rows are contiguous */
    const void *scales;        /**< f16 [rows][ceil(columns / 32)] when quantised, else NULL */
    size_t scale_stride_bytes; /**< as stride_bytes, of the scales */
} mglu_array;

/** Encoding of the masks of an mglu_mask_array. 1 assigns a weight to the gate, 0 to the value. */
typedef enum MGLU_ENUM32(mglu_mask_form) {
    MGLU_MASK_WORDS = 0,       /**< packed format v1: uint32 [d][ceil(h/32)][n_m], see mglu/pack.h */
    MGLU_MASK_BYTES = 1,       /**< uint8 [n_m][d][h], each 0 or 1 */
    MGLU_MASK_LOGITS_F32 = 2,  /**< f32 [n_m][d][h]; the mask is logit > 0. NaN is refused */
    MGLU_MASK_LOGITS_F16 = 3,  /**< the same in f16 */
    MGLU_MASK_LOGITS_BF16 = 4, /**< the same in bf16 */
    MGLU_MASK_BITS = 5         /**< uint8 [n_m][d][ceil(h/8)], LSB first: numpy.packbits(..., bitorder="little") */
} mglu_mask_form;

/** n_m masks in host memory, contiguous. */
typedef struct mglu_mask_array {
    const void *data;    /**< NULL: absent */
    mglu_mask_form form; /**< how `data` encodes them */
} mglu_mask_array;

MGLU_END_DECLS

#endif
