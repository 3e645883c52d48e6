/* SPDX-License-Identifier: MIT */
#include "backends/cpu/cpu.h"
#include "common/core/float_environment.h"

/*
 * Loops over tasks, all in the default floating-point environment regardless of the thread's: it is entered for each
 * task, since a pool of the host's may run work of its own between them, and once around a loop in this thread.
 */

struct loop {
    const struct mglu_cpu_chunk *chunk;
    void (*body)(const struct mglu_cpu_chunk *chunk, int64_t index);
};

static void run_task(void *argument, int64_t index)
{
    MGLU_DEFAULT_FLOATS;
    const struct loop *loop = argument;

    loop->body(loop->chunk, index);
}

static void run_here(const struct loop *loop, int64_t count)
{
    MGLU_DEFAULT_FLOATS;

    for (int64_t i = 0; i < count; i++)
        loop->body(loop->chunk, i);
}

void mglu_cpu_parallel(const struct mglu_cpu_chunk *chunk, int64_t count, size_t bytes_per_task,
                       void (*body)(const struct mglu_cpu_chunk *chunk, int64_t index))
{
    const mglu_parallel *parallel = chunk->args->parallel;
    struct loop loop = {chunk, body};

    if (mglu_cpu_is_worth_threads(count, bytes_per_task))
        parallel->parallel_for(parallel->user, count, run_task, &loop);
    else
        run_here(&loop, count);
}
