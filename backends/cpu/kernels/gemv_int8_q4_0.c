/* SPDX-License-Identifier: MIT */
#include "gemv_int8.h"

/* A file for each dtype, as one would take compilers too long. */

KERNELS_OF_DTYPE(q4_0, Q4_0)
