/* SPDX-License-Identifier: MIT */
#ifndef MGLU_TEST_CUDA_TENSOR_CORE_HPP
#define MGLU_TEST_CUDA_TENSOR_CORE_HPP

#include "shim.h"

/* How tensor cores add up, which PTX leaves open; shim.h has the models. */

namespace shim
{

enum { MMA_DEPTH = 16 };

/* Sets the model of later multiplications. */
void set_tensor_core(mglu_shim_tensor_core chosen);

/* sum + the products of a row of A and a column of B. */
float tensor_core_sum(const double (&a)[MMA_DEPTH], const double (&b)[MMA_DEPTH], float sum);

} // namespace shim

#endif
