/* SPDX-License-Identifier: MIT */
#include "common/core/static_tls.h"
#include "common/dispatch/objects.h"

/* The loops of a context: the application's pool if there is one, else OpenMP, else this thread. */

static void run_here(int64_t count, mglu_task task, void *argument)
{
    for (int64_t i = 0; i < count; i++)
        task(argument, i);
}

#ifdef _OPENMP

#include <omp.h>

/* Whether the runtime would wait for threads that fork() left behind. */
static int lost_threads(mglu_context *context)
{
    if (!mglu_fork_lost_threads())
        return 0;
    if (!atomic_exchange_explicit(&context->warned_of_fork, 1, memory_order_relaxed))
        mglu_log(&context->host, MGLU_LOG_WARN,
                 "after fork() from a process with threads, OpenMP can't be used: loops run on one thread");
    return 1;
}

static int32_t try_team(mglu_context *context)
{
    const int32_t wanted = context->host.num_threads;
    const int32_t possible = mglu_possible_threads(wanted, context->stack_size);

    if (possible < wanted && !atomic_exchange_explicit(&context->warned_of_limit, 1, memory_order_relaxed))
        mglu_log(&context->host, MGLU_LOG_WARN,
                 "%d of %d threads are used: no more can be made within the limits of memory and processes",
                 (int)possible, (int)wanted);
    return possible;
}

/*
 * The number of threads for a loop. The runtime has a team for each calling thread, and makes it anew when another size
 * is asked for; inside a region of the host's it would make one for each loop, so none is made there.
 */
static int32_t team_size(mglu_context *context)
{
    static MGLU_THREAD_LOCAL struct {
        int32_t wanted, possible;
    } team;

    if (lost_threads(context) || omp_get_level() > 0)
        return 1;
    if (team.wanted != context->host.num_threads) {
        team.possible = try_team(context);
        team.wanted = context->host.num_threads;
    }
    return team.possible;
}

/* Dynamic: cores differ in speed and are shared with other processes; the slowest would determine the time. */
static void run_team(int32_t num_threads, int64_t count, mglu_task task, void *argument)
{
#pragma omp parallel for num_threads(num_threads) schedule(dynamic)
    for (int64_t i = 0; i < count; i++)
        task(argument, i);
}

/* On one thread the runtime is not entered: it would allocate memory. */
static void run_own(void *user, int64_t count, mglu_task task, void *argument)
{
    mglu_context *context = user;
    const int32_t num_threads = context->host.num_threads > 1 && count > 1 ? team_size(context) : 1;

    if (num_threads > 1)
        run_team(num_threads, count, task, argument);
    else
        run_here(count, task, argument);
}

static void limit_threads(mglu_context *context)
{
    if (context->host.num_threads == 1)
        return;
    context->stack_size = mglu_openmp_stack_size();
    context->host.num_threads = lost_threads(context) ? 1 : try_team(context);
}

#else

static void run_own(void *user, int64_t count, mglu_task task, void *argument)
{
    run_here(count, task, argument);
}

static void limit_threads(mglu_context *context)
{
}

#endif

void mglu_parallel_use_own(mglu_context *context)
{
    limit_threads(context);
    context->parallel =
        (mglu_parallel){.user = context, .parallel_for = run_own, .num_threads = context->host.num_threads};
}
