/* SPDX-License-Identifier: MIT */
#ifndef MGLU_TEST_FAKE_STATE_H
#define MGLU_TEST_FAKE_STATE_H

#include "fake_driver.h"

#include "backends/cuda/kernels/params.h"

#include <pthread.h>

/*
 * What the parts of the fake driver share: fake_driver.c and fake_memory.c have its functions, fake_objects.c what it
 * has given out, fake_state.c the rest.
 */

/* Functions are named as in cuda.h, whose macros give them their versions. */
#define EXPORT __attribute__((visibility("default")))

/* Any object that is given out and must be released. */
struct thing {
    struct thing *next;
    char *data;
    size_t size;
};

/* A kernel with its argument, or a host's function, as a graph or a stream that hangs keeps it. */
struct node {
    struct fake_launch launch;
    CUhostFn host_function; /* NULL: a kernel */
    void *user;
    union {
        struct mglu_cuda_projection projection;
        struct mglu_cuda_routing routing;
    } argument;
};

/* Kernels in the order of their launches. */
struct CUgraph_st {
    struct node nodes[16];
    int count;
};

struct fake_state {
    pthread_mutex_t lock; /* guards all that follows */
    struct fake_settings settings;
    int contexts_retained[FAKE_MOST_DEVICES];
    struct thing *allocations, *host_allocations, *streams, *events, *modules, *functions;
    CUgraph captured; /* what is being captured, or NULL */
    CUstream captured_stream;
    int capture_is_spoilt;
    struct CUgraph_st waiting; /* launched while the device hangs */
};

extern struct fake_state fake;

/* The contexts of this thread. */
extern _Thread_local CUcontext fake_stack[16];
extern _Thread_local int fake_depth;

/* Logs a call and returns its result before it has any effect. */
CUresult fake_enter(const char *call);
/* The same for one that waits for the work of a stream, or, with FAKE_ALL_STREAMS, of the device. */
#define FAKE_ALL_STREAMS ((CUstream)UINTPTR_MAX)
CUresult fake_enter_to_wait(const char *call, CUstream stream);
/* The process that called cuInit: nothing works in its children. */
int fake_begin_process(void);

/* Allocates `size` bytes on a list, which are not zero. */
void *fake_take(struct thing **list, size_t size);
/* Releases an object whatever `result` is: it may report an earlier error. */
CUresult fake_give(struct thing **list, const void *data, CUresult result);
const struct thing *fake_holder_of(const struct thing *thing, const char *address, size_t size);

/* Whether a stream has work. */
int fake_query(CUstream stream);

/* With the lock held: a launch, and one that is kept for later. */
void fake_run(const struct fake_launch *launch, const void *argument);
CUresult fake_keep(struct CUgraph_st *graph, const struct fake_launch *launch, const void *argument);
CUresult fake_keep_function(CUstream stream, CUhostFn function, void *user);

#endif
