/* SPDX-License-Identifier: MIT */
#include "gemv_int8.h"

/* A file for each dtype, as one would take compilers too long. */

KERNELS_OF_DTYPE(q8_0, Q8_0)
