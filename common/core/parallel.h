/* SPDX-License-Identifier: MIT */
#ifndef MGLU_CORE_PARALLEL_H
#define MGLU_CORE_PARALLEL_H

#include <mglu/context.h>

/* Whether loops can be run with a caller's threads; `parallel` may be NULL. */
static inline mglu_status mglu_parallel_check(const char *call, const mglu_parallel *parallel)
{
    if (!parallel)
        return MGLU_OK;
    if (!parallel->parallel_for)
        return mglu_fail(MGLU_ERROR_INVALID_ARGUMENT, "%s: parallel: parallel_for is NULL", call);
    if (parallel->num_threads < 0)
        return mglu_fail(MGLU_ERROR_INVALID_ARGUMENT, "%s: parallel: num_threads is %d, must be 0 (not known) or more",
                         call, (int)parallel->num_threads);
    return MGLU_OK;
}

#endif
