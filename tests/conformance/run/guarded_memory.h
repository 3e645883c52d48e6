/* SPDX-License-Identifier: MIT */
#ifndef MGLU_CONFORMANCE_GUARDED_MEMORY_H
#define MGLU_CONFORMANCE_GUARDED_MEMORY_H

#include <mglu/mglu.h>

/**
 * An allocator for contexts under test: a block ends (up to its alignment) at an inaccessible page, is filled with NaN
 * bytes, and is unmapped when it is released.
 */
extern const mglu_allocator guarded_memory;

#endif
