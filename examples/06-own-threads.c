/* SPDX-License-Identifier: MIT */
/*
 * An application's own threads: a pool given to the library through mglu_parallel. The pool, 150 lines over POSIX
 * threads, is beside the installed examples, and tools/common/pool.c of the source tree.
 *
 *     cc 06-own-threads.c pool.c -o 06-own-threads $(pkg-config --cflags --libs mglu) -pthread
 *
 * It prints:
 *     y = 256.0000
 */
#include "pool.h"

#include <stdio.h>

enum { HIDDEN = 512, INTERMEDIATE = 512 };

static float weight[INTERMEDIATE][HIDDEN], x[HIDDEN], y[INTERMEDIATE];
static uint8_t mask[INTERMEDIATE][HIDDEN];

static mglu_status compute(mglu_context *context)
{
    const mglu_weights_desc weights_desc = {.struct_size = sizeof weights_desc,
                                            .hidden_size = HIDDEN,
                                            .intermediate_size = INTERMEDIATE,
                                            .n_masks = 1,
                                            .weight = {.data = weight},
                                            .masks = {.data = mask, .form = MGLU_MASK_BYTES}};
    const mglu_layer_desc layer_desc = {.struct_size = sizeof layer_desc, .max_batch = 1};
    mglu_forward_args args = {.struct_size = sizeof args, .batch = 1, .x.data = x, .y.data = y};
    mglu_device *device;
    mglu_queue *queue = NULL;
    mglu_weights *weights = NULL;
    mglu_layer *layer = NULL;
    mglu_memory *workspace = NULL;

    mglu_status status = mglu_device_pick(context, "cpu", &device);
    if (status == MGLU_OK)
        status = mglu_queue_create(device, NULL, &queue);
    if (status == MGLU_OK)
        status = mglu_weights_create(device, &weights_desc, &weights);
    if (status == MGLU_OK)
        status = mglu_layer_create(weights, &layer_desc, &layer);
    if (status == MGLU_OK)
        status = mglu_memory_create(device, mglu_layer_workspace_size(layer), &workspace);
    args.workspace = mglu_memory_data(workspace);
    args.workspace_size = mglu_memory_size(workspace);
    if (status == MGLU_OK)
        status = mglu_forward(layer, queue, &args);
    mglu_memory_destroy(&workspace);
    mglu_layer_destroy(&layer);
    mglu_weights_destroy(&weights);
    mglu_queue_destroy(&queue);
    return status;
}

int main(void)
{
    struct pool *pool = pool_create(2);
    mglu_context *context = NULL;

    if (!pool)
        return 1;
    const mglu_parallel parallel = pool_hook(pool);
    const mglu_context_desc desc = {.struct_size = sizeof desc, .parallel = &parallel};
    for (int i = 0; i < HIDDEN; i++) {
        x[i] = 1;
        weight[0][i] = 0.0625f;
        mask[0][i] = i % 2 == 0;
    }
    mglu_status status = mglu_context_create(&desc, &context);
    if (status == MGLU_OK)
        status = compute(context);
    if (status == MGLU_OK)
        printf("y = %.4f\n", (double)y[0]); /* gate and value are 256 / 16 each: silu(16) * 16 = 256 */
    else
        fprintf(stderr, "%s: %s\n", mglu_status_string(status), mglu_last_error());
    mglu_context_destroy(&context);
    pool_destroy(pool); /* after all objects of the context */
    return status == MGLU_OK ? 0 : 1;
}
