/* SPDX-License-Identifier: MIT */
#ifndef MGLU_CONFORMANCE_POOLS_H
#define MGLU_CONFORMANCE_POOLS_H

#include <mglu/context.h>

/** Loops of a host that run tasks in orders that none of ours does: backwards, odd ones first, on several threads. */
enum { HOSTILE_POOLS = 3 };
extern const mglu_parallel hostile_pool[HOSTILE_POOLS];

#endif
