/* SPDX-License-Identifier: MIT */
/*
 * Any device, a GPU or the CPU: x and y are copied through memory of the device, which works on all. MGLU_BACKEND names
 * one; by default the best is used.
 *
 *     cc 05-device.c -o 05-device $(pkg-config --cflags --libs mglu)
 *     MGLU_BACKEND=opencl ./05-device
 *
 * The device's name goes to stderr. It prints:
 *     y = -12.9805 13.9872
 */
#include <mglu/mglu.h>
#include <stdio.h>
#include <stdlib.h>

enum { HIDDEN = 3, INTERMEDIATE = 2 };

static const float weight[INTERMEDIATE][HIDDEN] = {{1, 2, 3}, {4, 5, 6}};
static const uint8_t mask[INTERMEDIATE][HIDDEN] = {{1, 0, 1}, {0, 1, 1}};
static const float x[HIDDEN] = {0.5f, -1, 2};

/** Ends the program where a call failed. */
static void require(mglu_status status)
{
    if (status == MGLU_OK)
        return;
    fprintf(stderr, "%s: %s\n", mglu_status_string(status), mglu_last_error());
    exit(1);
}

static mglu_device *pick_device(mglu_context *context)
{
    mglu_device *device;
    mglu_device_info info = {.struct_size = sizeof info};
    require(mglu_device_pick(context, NULL, &device)); /* NULL: what MGLU_BACKEND names, else the best */
    require(mglu_device_get_info(device, &info));
    fprintf(stderr, "device: %s, %s\n", info.backend, info.name);
    return device;
}

static mglu_layer *create_layer(mglu_device *device)
{
    const mglu_weights_desc weights_desc = {.struct_size = sizeof weights_desc,
                                            .hidden_size = HIDDEN,
                                            .intermediate_size = INTERMEDIATE,
                                            .n_masks = 1,
                                            .weight.data = weight,
                                            .masks = {.data = mask, .form = MGLU_MASK_BYTES}};
    const mglu_layer_desc layer_desc = {.struct_size = sizeof layer_desc, .max_batch = 1};
    mglu_weights *weights;
    mglu_layer *layer;
    require(mglu_weights_create(device, &weights_desc, &weights)); /* copies to the device */
    require(mglu_layer_create(weights, &layer_desc, &layer));      /* OpenCL compiles its kernels here */
    mglu_weights_destroy(&weights);
    return layer;
}

/** Waits a second at a time: a program with other work would do some in between. */
static void wait_for(mglu_queue *queue)
{
    mglu_status status;
    while ((status = mglu_queue_wait_for(queue, 1000000000)) == MGLU_ERROR_TIMEOUT)
        fprintf(stderr, "still computing\n");
    require(status);
}

int main(void)
{
    mglu_context *context;
    mglu_queue *queue;
    mglu_memory *workspace, *inputs, *outputs;
    float y[INTERMEDIATE];

    require(mglu_context_create(NULL, &context));
    mglu_device *device = pick_device(context);
    require(mglu_queue_create(device, NULL, &queue));
    mglu_layer *layer = create_layer(device);
    require(mglu_memory_create(device, mglu_layer_workspace_size(layer), &workspace));
    require(mglu_memory_create(device, sizeof x, &inputs));
    require(mglu_memory_create(device, sizeof y, &outputs));

    const mglu_forward_args args = {.struct_size = sizeof args,
                                    .batch = 1,
                                    .x.data = mglu_memory_data(inputs),
                                    .y.data = mglu_memory_data(outputs),
                                    .workspace = mglu_memory_data(workspace),
                                    .workspace_size = mglu_memory_size(workspace)};
    require(mglu_memory_write(inputs, queue, 0, x, sizeof x));
    require(mglu_forward(layer, queue, &args)); /* a GPU computes on while this thread goes on */
    wait_for(queue);
    require(mglu_memory_read(outputs, queue, 0, y, sizeof y));
    printf("y = %.4f %.4f\n", (double)y[0], (double)y[1]);

    mglu_memory_destroy(&outputs);
    mglu_memory_destroy(&inputs);
    mglu_memory_destroy(&workspace);
    mglu_layer_destroy(&layer);
    mglu_queue_destroy(&queue);
    mglu_context_destroy(&context);
    return 0;
}
