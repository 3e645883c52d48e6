/* SPDX-License-Identifier: MIT */
#ifndef MGLU_TEST_CUDA_SHIM_H
#define MGLU_TEST_CUDA_SHIM_H

#include <stddef.h>
#include <stdint.h>

/* The kernels of the CUDA backend on the host, selected by name. Device addresses are addresses of the process. */

#ifdef __cplusplus
extern "C" {
#endif

/* Whether there is a kernel of this name. */
int mglu_shim_has(const char *symbol);

/*
 * Runs a kernel with its one argument, a struct of kernels/params.h. An error of a kernel ends the program with a
 * message. Not for use from several threads.
 */
void mglu_shim_launch(const char *symbol, uint32_t grid_x, uint32_t grid_y, uint32_t block_x, uint32_t shared_bytes,
                      const void *argument);

/* Chooses another order of threads for the launches that follow. */
void mglu_shim_shuffle(uint32_t seed);

/*
 * How tensor cores add 16 products to a sum, which PTX leaves open. The sum is always truncated to f32. Real ones also
 * align the terms with the largest of them and truncate each one or two bits below its last bit, 8 or 16 products at a
 * time.
 */
typedef enum mglu_shim_tensor_core {
    MGLU_SHIM_EXACT_TERMS, /* only the sum is truncated */
    MGLU_SHIM_1_BIT_8_TERMS,
    MGLU_SHIM_1_BIT_16_TERMS,
    MGLU_SHIM_2_BITS_16_TERMS,
    MGLU_SHIM_TENSOR_CORES
} mglu_shim_tensor_core;

/* The model for the launches that follow. */
void mglu_shim_set_tensor_core(mglu_shim_tensor_core chosen);

#ifdef __cplusplus
}
#endif

#endif
