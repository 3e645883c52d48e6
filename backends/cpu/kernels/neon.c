/* SPDX-License-Identifier: MIT */
#define KERNEL(name) mglu_##name##_neon

#include "vec_neon.h"

#include "set.h"
