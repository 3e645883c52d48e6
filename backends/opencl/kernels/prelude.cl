/* SPDX-License-Identifier: MIT */

/*
 * One text for every device, in OpenCL C 1.2 without an extension. It is shaped by macros that the host defines:
 *
 *   WEIGHT            mglu_dtype of the matrix
 *   MATRICES          2: a plain GLU's gate and value. 1: one matrix
 *   MASKS             masks that are summed for a token; 0: none
 *   GLU               1: sums become g(gate) * value. 0: sums are what is wanted (down-projection, router)
 *   ROUTED            1: each token has masks and weights of its own; TOKENS is then 1
 *   ROWS, TOKENS      rows and tokens that a work-item sums at a time
 *   SLICES            work-items that share a row; 1 on processors with vectors (lanes.cl): TOKENS is then 1, too
 *   LINES             groups of ROWS rows in a work-group of SLICES * LINES items
 *   MASK_FORM, HALF_FORM  ways to the same bits of which one device likes this and another that; of slices.cl
 *
 * No macro but SLICES decides in which order numbers are added, hence none but SLICES decides the bits of y.
 */

/* Every product is rounded, then added: the same bits for any number of rows or tokens at a time. */
#pragma OPENCL FP_CONTRACT OFF

/* What the C headers that are shared with the host expect. The enums of mglu/types.h come before all this. */
typedef uint uint32_t;
typedef ushort uint16_t;
typedef ulong uint64_t;
#define MGLU_INLINE static inline
