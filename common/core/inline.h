/* SPDX-License-Identifier: MIT */
#ifndef MGLU_CORE_INLINE_H
#define MGLU_CORE_INLINE_H

#include "common/core/ieee.h"

/* Parts of loops that must be inlined: their arguments are constants that shape the code, or the loop is vectorised. */
#define MGLU_INLINE static inline __attribute__((always_inline))

#endif
