/* SPDX-License-Identifier: MIT */
#include <mglu/io.h>
#include <mglu/mglu.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

/*
 * A program of a user of both libraries, in C11 and C++17: computes the layer of the README on the device that
 * MGLU_BACKEND names, compares the result with known numbers, and prints one line.
 */

static const float weight[2][3] = {{1, 2, 3}, {4, 5, 6}}, x[3] = {0.5f, -1, 2};
static const uint8_t mask[2][3] = {{1, 0, 1}, {0, 1, 1}};
static const float expected[2] = {-12.9805f, 13.9872f};

static mglu_status make_layer(mglu_device *device, mglu_layer **layer)
{
    mglu_weights *weights = NULL;
    mglu_weights_desc weights_desc = MGLU_WEIGHTS_DESC_INIT;
    mglu_layer_desc layer_desc = MGLU_LAYER_DESC_INIT;

    weights_desc.hidden_size = 3;
    weights_desc.intermediate_size = 2;
    weights_desc.n_masks = 1;
    weights_desc.weight.data = weight;
    weights_desc.weight.dtype = MGLU_DTYPE_F32;
    weights_desc.masks.data = mask;
    weights_desc.masks.form = MGLU_MASK_BYTES;
    layer_desc.max_batch = 1;
    mglu_status status = mglu_weights_create(device, &weights_desc, &weights);
    if (status == MGLU_OK)
        status = mglu_layer_create(weights, &layer_desc, layer);
    mglu_weights_destroy(&weights);
    return status;
}

static mglu_status compute(mglu_device *device, float *y)
{
    mglu_queue *queue = NULL;
    mglu_layer *layer = NULL;
    mglu_memory *workspace = NULL;
    mglu_forward_args args = MGLU_FORWARD_ARGS_INIT;
    mglu_status status = mglu_queue_create(device, NULL, &queue);

    if (status == MGLU_OK)
        status = make_layer(device, &layer);
    if (status == MGLU_OK)
        status = mglu_memory_create(device, mglu_layer_workspace_size(layer), &workspace);
    if (status == MGLU_OK) {
        args.batch = 1;
        args.x.data = x;
        args.y.data = y;
        args.workspace = mglu_memory_data(workspace);
        args.workspace_size = mglu_memory_size(workspace);
        status = mglu_forward(layer, queue, &args);
    }
    if (status == MGLU_OK)
        status = mglu_queue_wait(queue);
    mglu_memory_destroy(&workspace);
    mglu_layer_destroy(&layer);
    mglu_queue_destroy(&queue);
    return status;
}

static int is_right(const float *y)
{
    return fabsf(y[0] - expected[0]) < 1e-4f && fabsf(y[1] - expected[1]) < 1e-4f;
}

/* libmglu-io answers too. */
static int misses_file(void)
{
    mglu_file *file = NULL;
    const mglu_status status = mglu_file_open("/nonexistent/mglu.safetensors", 0, &file);

    return status == MGLU_ERROR_IO && strstr(mglu_last_error(), "/nonexistent/mglu.safetensors");
}

int main(void)
{
    float y[2] = {0, 0};
    mglu_context *context = NULL;
    mglu_device *device = NULL;
    mglu_status status = mglu_context_create(NULL, &context);

    if (status == MGLU_OK)
        status = mglu_device_pick(context, NULL, &device);
    if (status == MGLU_OK)
        status = compute(device, y);
    if (status == MGLU_OK)
        printf("y = %.4f %.4f: %s\n", (double)y[0], (double)y[1], is_right(y) && misses_file() ? "right" : "wrong");
    else
        printf("%s: %s\n", mglu_status_string(status), mglu_last_error());
    mglu_context_destroy(&context);
    return status == MGLU_OK && is_right(y) && misses_file() ? 0 : 1;
}
