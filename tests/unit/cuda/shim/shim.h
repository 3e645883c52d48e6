/* SPDX-License-Identifier: MIT */
#ifndef MGLU_TEST_CUDA_SHIM_H
#define MGLU_TEST_CUDA_SHIM_H

#include <stddef.h>
#include <stdint.h>

/* The kernels of the CUDA backend on the host, by their names. Device addresses are addresses of the process. */

#ifdef __cplusplus
extern "C" {
#endif

/* Whether there is a kernel of this name. */
int mglu_shim_has(const char *symbol);

/*
 * Runs a kernel with its one argument, a struct of kernels/params.h. What would go wrong on a device ends the program
 * with a message. Not for use from several threads.
 */
void mglu_shim_launch(const char *symbol, uint32_t grid_x, uint32_t grid_y, uint32_t block_x, uint32_t shared_bytes,
                      const void *argument);

/* Chooses another order of threads for the launches that follow. */
void mglu_shim_shuffle(uint32_t seed);

#ifdef __cplusplus
}
#endif

#endif
