/* SPDX-License-Identifier: MIT */
#include "gemv_int8.h"

/* One file per dtype: a single file would take too long to compile. */

KERNELS_OF_DTYPE(q8_0, Q8_0)
