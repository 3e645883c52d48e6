/* SPDX-License-Identifier: MIT */
#include "common/dispatch/objects.h"

/*
 * Handlers that fork() calls. They set numbers and take no lock. The counter tells a context that it was made by a
 * parent process; getpid() would take longer than all other checks of a forward together.
 */

atomic_uint mglu_forks;

static atomic_int is_registered, parent_has_threads, has_lost_threads;

/* Where the number of threads is unknown there may be several. */
static void before_fork(void)
{
    atomic_store(&parent_has_threads, mglu_process_threads() != 1);
}

static void in_child(void)
{
    atomic_fetch_add(&mglu_forks, 1);
    if (atomic_load(&parent_has_threads))
        atomic_store(&has_lost_threads, 1);
}

/* Two threads may both register: the counter then moves by two, which means the same. */
mglu_status mglu_fork_register(void)
{
    if (atomic_load(&is_registered))
        return MGLU_OK;
    if (pthread_atfork(before_fork, NULL, in_child) != 0)
        return mglu_fail(MGLU_ERROR_OUT_OF_MEMORY, "out of memory");
    atomic_store(&is_registered, 1);
    return MGLU_OK;
}

int mglu_fork_lost_threads(void)
{
    return atomic_load_explicit(&has_lost_threads, memory_order_relaxed);
}
