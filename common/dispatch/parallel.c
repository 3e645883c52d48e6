/* SPDX-License-Identifier: MIT */
#include "common/dispatch/objects.h"

/* The loop behind mglu_host.parallel_for: the host's pool if there is one, else OpenMP, else this thread. */

#ifdef _OPENMP

int mglu_has_openmp(void)
{
    return 1;
}

/* Dynamic: cores differ in speed and are shared with other processes; the slowest would determine the time. */
static void run_tasks(int32_t num_threads, int64_t count, mglu_task task, void *argument)
{
#pragma omp parallel for num_threads(num_threads) schedule(dynamic) if (num_threads > 1 && count > 1)
    for (int64_t i = 0; i < count; i++)
        task(argument, i);
}

#else

int mglu_has_openmp(void)
{
    return 0;
}

static void run_tasks(int32_t num_threads, int64_t count, mglu_task task, void *argument)
{
    for (int64_t i = 0; i < count; i++)
        task(argument, i);
}

#endif

void mglu_parallel_for(const mglu_host *host, int64_t count, mglu_task task, void *argument)
{
    const mglu_context *context = (const mglu_context *)host;

    if (context->parallel.parallel_for)
        context->parallel.parallel_for(context->parallel.user, count, task, argument);
    else
        run_tasks(host->num_threads, count, task, argument);
}
