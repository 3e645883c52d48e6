/* SPDX-License-Identifier: MIT */
#include "backends/cpu/cpu.h"
#include "common/core/float_environment.h"

/*
 * Loops over tasks, all in the default floating-point environment regardless of the thread's: it is entered for each
 * task, since a pool of the host's may run work of its own between them, and once around a loop in this thread.
 */

struct loop {
    void (*body)(void *argument, int64_t index);
    void *argument;
};

static void run_task(void *argument, int64_t index)
{
    MGLU_DEFAULT_FLOATS;
    const struct loop *loop = argument;

    loop->body(loop->argument, index);
}

static void run_here(const struct loop *loop, int64_t count)
{
    MGLU_DEFAULT_FLOATS;

    for (int64_t i = 0; i < count; i++)
        loop->body(loop->argument, i);
}

void mglu_cpu_run_tasks(const mglu_parallel *parallel, int64_t count, int use_threads,
                        void (*body)(void *argument, int64_t index), void *argument)
{
    struct loop loop = {body, argument};

    if (use_threads)
        parallel->parallel_for(parallel->user, count, run_task, &loop);
    else
        run_here(&loop, count);
}

struct chunk_loop {
    const struct mglu_cpu_chunk *chunk;
    void (*body)(const struct mglu_cpu_chunk *chunk, int64_t index);
};

static void run_body(void *argument, int64_t index)
{
    const struct chunk_loop *loop = argument;

    loop->body(loop->chunk, index);
}

void mglu_cpu_parallel(const struct mglu_cpu_chunk *chunk, int64_t count, size_t bytes_per_task,
                       void (*body)(const struct mglu_cpu_chunk *chunk, int64_t index))
{
    struct chunk_loop loop = {chunk, body};

    mglu_cpu_run_tasks(chunk->args->parallel, count, mglu_cpu_is_worth_threads(count, bytes_per_task), run_body, &loop);
}
