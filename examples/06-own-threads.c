/* SPDX-License-Identifier: MIT */
/*
 * An application's own threads, given to the library through mglu_parallel: for all calls on a context, or for a single
 * forward, where a runtime hands out its pool only inside an operator. The pool, 150 lines over POSIX threads, is
 * beside the installed examples, and tools/common/pool.c of the source tree.
 *
 *     cc 06-own-threads.c pool.c -o 06-own-threads $(pkg-config --cflags --libs mglu) -pthread
 *
 * Gate and value are 256 / 16 each, and silu(16) * 16 = 256. It prints:
 *     one thread:    y = 256.0000, loops on the pool: none
 *     the context's: y = 256.0000, loops on the pool: some
 *     of the call:   y = 256.0000, loops on the pool: some
 */
#include "pool.h"

#include <stdio.h>
#include <stdlib.h>

enum { HIDDEN = 512, INTERMEDIATE = 512, THREADS = 2 };

static float weight[INTERMEDIATE][HIDDEN], x[HIDDEN], y[INTERMEDIATE];
static uint8_t mask[INTERMEDIATE][HIDDEN];
static int loops;

/** Ends the program where a call failed. */
static void require(mglu_status status)
{
    if (status == MGLU_OK)
        return;
    fprintf(stderr, "%s: %s\n", mglu_status_string(status), mglu_last_error());
    exit(1);
}

/** The hook: runs task(argument, 0), task(argument, 1) and so on, on any threads, and returns when all are done. */
static void parallel_for(void *user, int64_t count, mglu_task task, void *argument)
{
    const mglu_parallel *pool = user;
    loops++;
    pool->parallel_for(pool->user, count, task, argument);
}

static void fill(void)
{
    for (int i = 0; i < HIDDEN; i++) {
        x[i] = 1;
        weight[0][i] = 0.0625f;
        mask[0][i] = i % 2 == 0;
    }
}

/** One forward. Each of the two pools may be NULL; that of the call takes precedence. */
static void forward(const char *title, const mglu_parallel *of_context, const mglu_parallel *of_call)
{
    const mglu_context_desc context_desc = {.struct_size = sizeof context_desc, .parallel = of_context};
    const mglu_weights_desc weights_desc = {.struct_size = sizeof weights_desc,
                                            .hidden_size = HIDDEN,
                                            .intermediate_size = INTERMEDIATE,
                                            .n_masks = 1,
                                            .weight.data = weight,
                                            .masks = {.data = mask, .form = MGLU_MASK_BYTES}};
    const mglu_layer_desc layer_desc = {.struct_size = sizeof layer_desc, .max_batch = 1};
    mglu_forward_args args = {.struct_size = sizeof args, .batch = 1, .x.data = x, .y.data = y, .parallel = of_call};
    mglu_context *context;
    mglu_device *device;
    mglu_weights *weights;
    mglu_layer *layer;
    mglu_memory *workspace;

    require(mglu_context_create(&context_desc, &context));
    require(mglu_device_pick(context, "host", &device));
    require(mglu_weights_create(device, &weights_desc, &weights)); /* packs on the context's threads */
    require(mglu_layer_create(weights, &layer_desc, &layer));
    require(mglu_memory_create(device, mglu_layer_workspace_size(layer), &workspace));
    args.workspace = mglu_memory_data(workspace);
    args.workspace_size = mglu_memory_size(workspace);
    loops = 0;
    require(mglu_forward(layer, NULL, &args));
    printf("%s y = %.4f, loops on the pool: %s\n", title, (double)y[0], loops ? "some" : "none");
    mglu_memory_destroy(&workspace);
    mglu_layer_destroy(&layer);
    mglu_weights_destroy(&weights);
    mglu_context_destroy(&context);
}

int main(void)
{
    struct pool *pool = pool_create(THREADS);
    if (!pool)
        return 1;
    mglu_parallel threads = pool_hook(pool);
    const mglu_parallel hook = {.user = &threads, .parallel_for = parallel_for, .num_threads = threads.num_threads};

    fill();
    forward("one thread:   ", NULL, NULL); /* the library starts none unless num_threads says so */
    forward("the context's:", &hook, NULL);
    forward("of the call:  ", NULL, &hook);
    pool_destroy(pool); /* after all objects of the context */
    return 0;
}
