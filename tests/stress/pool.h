/* SPDX-License-Identifier: MIT */
#ifndef MGLU_TEST_POOL_H
#define MGLU_TEST_POOL_H

#include <mglu/context.h>

/** A thread pool for mglu_context_desc.parallel. Several threads may run loops on it at the same time. */
struct pool;

/** Starts `threads` threads, besides which the caller of a loop works too. Ends the program where they can't be made.
 */
struct pool *pool_create(int threads);

/** Waits for the threads. No loop may be running. */
void pool_destroy(struct pool *pool);

/** The hook; valid until the pool is destroyed. */
mglu_parallel pool_hook(struct pool *pool);

#endif
