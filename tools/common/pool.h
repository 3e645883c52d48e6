/* SPDX-License-Identifier: MIT */
#ifndef MGLU_TOOLS_COMMON_POOL_H
#define MGLU_TOOLS_COMMON_POOL_H

/**
 * @file
 * A thread pool for mglu_parallel, of the programs and as an example for applications without one: it needs POSIX
 * threads and mglu/mglu.h alone. Idle threads sleep, after some microseconds.
 */

#include <mglu/mglu.h>

struct pool;

/**
 * A pool of `threads`, the calling one included. Fewer where no more can be made: pool_threads() tells how many there
 * are. NULL when there is no memory.
 */
struct pool *pool_create(int threads);

int pool_threads(const struct pool *pool);

/** For mglu_context_desc; the pool must outlive all objects of the context. Without a function for NULL. */
mglu_parallel pool_hook(struct pool *pool);

/**
 * In a child made by fork(), before the pool is used there: makes the threads anew, which only the parent has. Loops
 * that ran at the time of fork() are forgotten.
 */
void pool_restart(struct pool *pool);

/** Ends the threads. NULL is accepted. */
void pool_destroy(struct pool *pool);

#endif
