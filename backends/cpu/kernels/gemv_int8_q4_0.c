/* SPDX-License-Identifier: MIT */
#include "gemv_int8.h"

/* One file per dtype: a single file would take too long to compile. */

KERNELS_OF_DTYPE(q4_0, Q4_0)
