/* SPDX-License-Identifier: MIT */
#include "backends/cpu/cpu.h"
#include "common/core/float_environment.h"

#include <unistd.h>

/*
 * Loops over tasks, all in the default floating-point environment regardless of the thread's: it is entered for each
 * run, since a pool of the host's may run work of its own between them, and once around a loop in this thread.
 *
 * Threads compute runs of consecutive tasks: so each reads the weights in long streams, and what it prefetches beyond
 * the end of a task is its own next one. Runs become shorter from round to round, so that all threads end at about the
 * same time though they differ in speed (factoring: Hummel, Schonberg and Flynn, CACM 35(8), 1992): a round gives each
 * thread a run of an equal part of half of what is left.
 */

struct loop {
    void (*body)(void *argument, int64_t index);
    void *argument;
    int64_t count, threads;
    _Atomic int64_t begun; /* runs */
};

/* Some runs of equal length. */
struct round {
    int64_t runs, length;
};

static struct round next_round(int64_t left, int64_t threads)
{
    if (left <= 2 * threads)
        return (struct round){left, 1};
    return (struct round){threads, (left + 2 * threads - 1) / (2 * threads)};
}

static int64_t count_runs(int64_t count, int64_t threads)
{
    int64_t runs = 0;

    while (count > 0) {
        const struct round round = next_round(count, threads);
        runs += round.runs;
        count -= round.runs * round.length;
    }
    return runs;
}

/* The tasks of run `number`, first..end-1; none if the loop has not so many runs. */
static int64_t find_run(const struct loop *loop, int64_t number, int64_t *end)
{
    int64_t first = 0;

    while (first < loop->count) {
        const struct round round = next_round(loop->count - first, loop->threads);
        if (number < round.runs) {
            first += number * round.length;
            *end = first + round.length;
            return first;
        }
        number -= round.runs;
        first += round.runs * round.length;
    }
    return *end = first;
}

/* Numbers are taken in the order of the calls, so that long runs come first in whatever order the host's pool calls. */
static void next_run(void *argument, int64_t index)
{
    MGLU_DEFAULT_FLOATS;
    struct loop *loop = argument;
    const int64_t number = atomic_fetch_add_explicit(&loop->begun, 1, memory_order_relaxed);
    int64_t end;

    for (int64_t i = find_run(loop, number, &end); i < end; i++)
        loop->body(loop->argument, i);
}

static void run_here(const struct loop *loop)
{
    MGLU_DEFAULT_FLOATS;

    for (int64_t i = 0; i < loop->count; i++)
        loop->body(loop->argument, i);
}

/* The threads of a pool that does not say how many it has: as many as the machine has CPUs. */
static int64_t assumed_threads(void)
{
    static _Atomic long known;
    long cpus = atomic_load_explicit(&known, memory_order_relaxed);

    if (cpus == 0) {
        cpus = sysconf(_SC_NPROCESSORS_ONLN);
        if (cpus < 1)
            cpus = 1;
        atomic_store_explicit(&known, cpus, memory_order_relaxed);
    }
    return cpus;
}

void mglu_cpu_run_tasks(const mglu_parallel *parallel, int64_t count, int use_threads,
                        void (*body)(void *argument, int64_t index), void *argument)
{
    struct loop loop = {.body = body, .argument = argument, .count = count};

    if (!use_threads) {
        run_here(&loop);
        return;
    }
    loop.threads = parallel->num_threads > 0 ? parallel->num_threads : assumed_threads();
    parallel->parallel_for(parallel->user, count_runs(count, loop.threads), next_run, &loop);
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
