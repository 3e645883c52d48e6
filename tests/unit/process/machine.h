/* SPDX-License-Identifier: MIT */
#ifndef MGLU_TESTS_PROCESS_MACHINE_H
#define MGLU_TESTS_PROCESS_MACHINE_H

#include "sample.h"

#include <stdatomic.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

/* A layer on the CPU with the warnings of its context. */

enum { H = 512, D = 512 };

static const struct sample_shape machine_shape = {.h = H, .d = D, .n_masks = 2};
static const mglu_layer_desc machine_layer = {.struct_size = sizeof machine_layer, .max_batch = 1};

/* Counts lines of warnings, and keeps the last one. */
struct log {
    atomic_int count;
    char text[200];
};

static inline void keep_warning(void *user, mglu_log_level level, const char *text)
{
    struct log *log = user;

    atomic_fetch_add(&log->count, 1);
    snprintf(log->text, sizeof log->text, "%s", text);
}

struct machine {
    struct log log;
    struct sample sample;
    struct rig rig;
    float x[H], y[D];
};

/* `parallel` may be NULL. */
static inline void make_machine(struct machine *machine, int32_t threads, const mglu_parallel *parallel)
{
    const mglu_logger logger = {&machine->log, keep_warning, MGLU_LOG_WARN};
    const mglu_context_desc context = {
        .struct_size = sizeof context, .num_threads = threads, .parallel = parallel, .logger = &logger};

    *machine = (struct machine){.sample = sample_make(&machine_shape, 1)};
    for (int i = 0; i < H; i++)
        machine->x[i] = (float)(i % 7) - 3;
    machine->rig = rig_make("cpu", &context, &machine->sample.desc, &machine_layer);
}

static inline void free_machine(struct machine *machine)
{
    rig_free(&machine->rig);
    sample_free(&machine->sample);
}

static inline mglu_status forward(struct rig *rig, const float *x, float *y)
{
    mglu_status status = rig_forward(rig, (mglu_forward_args){.batch = 1, .x = {.data = x}, .y = {.data = y}});

    return status == MGLU_OK ? mglu_queue_wait(rig->queue) : status;
}

/* What a child does; nonzero: all was right. */
typedef int (*child_fn)(struct machine *machine);

/* A child that waits for a lock or a thread for ever is ended by the alarm. */
static inline void assert_child(child_fn run, struct machine *machine)
{
    enum { SECONDS = 120 };
    const pid_t child = fork();
    int result;

    assert_true(child >= 0);
    if (child == 0) {
        alarm(SECONDS);
        _exit(run(machine) ? 0 : 1);
    }
    assert_int_equal(waitpid(child, &result, 0), child);
    assert_int_equal(result, 0);
}

#endif
