/* SPDX-License-Identifier: MIT */
#define KERNEL(name) mglu_##name##_baseline

#include "vec_baseline.h"

#include "set.h"
