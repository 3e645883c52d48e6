/* SPDX-License-Identifier: MIT */
#ifndef MGLU_CONFORMANCE_GUARDED_MEMORY_H
#define MGLU_CONFORMANCE_GUARDED_MEMORY_H

#include <mglu/mglu.h>

/**
 * An allocator for contexts under test: what it gives ends, but for its alignment, where nothing can be read or
 * written, holds NaN bytes, and is gone once released.
 */
extern const mglu_allocator guarded_memory;

#endif
