/* SPDX-License-Identifier: MIT */
#ifndef MGLU_CORE_INLINE_H
#define MGLU_CORE_INLINE_H

#include "common/core/ieee.h"

/* For parts of loops that must be inlined: they are specialised on constant arguments, or the loop is vectorised. */
#define MGLU_INLINE static inline __attribute__((always_inline))

#endif
