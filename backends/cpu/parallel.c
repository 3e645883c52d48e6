/* SPDX-License-Identifier: MIT */
#include "backends/cpu/cpu.h"

#include <fenv.h>

/* Loops over tasks, each in the default floating-point environment regardless of the thread's. */

struct loop {
    const struct mglu_cpu_chunk *chunk;
    void (*body)(const struct mglu_cpu_chunk *chunk, int64_t index);
};

static void run_task(void *argument, int64_t index)
{
    const struct loop *loop = argument;
    fenv_t callers;

    fegetenv(&callers);
    fesetenv(FE_DFL_ENV);
    loop->body(loop->chunk, index);
    fesetenv(&callers);
}

void mglu_cpu_parallel(const struct mglu_cpu_chunk *chunk, int64_t count, size_t bytes_per_task,
                       void (*body)(const struct mglu_cpu_chunk *chunk, int64_t index))
{
    const mglu_host *host = chunk->layer->backend->host;
    struct loop loop = {chunk, body};

    if (mglu_cpu_is_worth_threads(count, bytes_per_task)) {
        host->parallel_for(host, count, run_task, &loop);
        return;
    }
    for (int64_t i = 0; i < count; i++)
        run_task(&loop, i);
}
