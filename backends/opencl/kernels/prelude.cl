/* SPDX-License-Identifier: MIT */

/*
 * One source for every device, in OpenCL C 1.2 without extensions. The host specialises it by macros:
 *
 *   WEIGHT            mglu_dtype of the matrix
 *   MATRICES          2: a plain GLU's gate and value. 1: one matrix
 *   MASKS             masks that are summed for a token; 0: none
 *   GLU               1: the result is g(gate) * value. 0: the sums themselves (down-projection, router)
 *   ROUTED            1: each token has masks and weights of its own; TOKENS is then 1
 *   ROWS, TOKENS      rows and tokens that a work-item sums at a time
 *   SLICES            work-items that share a row; 1 on processors with vector units (lanes.cl): TOKENS is then also 1
 *   LINES             groups of ROWS rows in a work-group of SLICES * LINES items
 *   MASK_FORM, HALF_FORM  equivalent forms of slices.cl; the fastest is device-dependent
 *
 * Only SLICES determines the summation order, and so the bits of y.
 */

/* Every product is rounded, then added: the same bits for any number of rows or tokens at a time. */
#pragma OPENCL FP_CONTRACT OFF

/* Definitions for the C headers shared with the host. The enums of mglu/types.h precede this file. */
typedef uint uint32_t;
typedef ushort uint16_t;
typedef ulong uint64_t;
#define MGLU_INLINE static inline
