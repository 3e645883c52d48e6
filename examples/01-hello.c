/* SPDX-License-Identifier: MIT */
/*
 * A layer from arrays, and one forward.
 *
 *     cc 01-hello.c -o 01-hello $(pkg-config --cflags --libs mglu)
 *
 * It prints:
 *     y = -12.9805 13.9872
 */
#include <mglu/mglu.h>
#include <stdio.h>

int main(void)
{
    /* h = 3 inputs, d = 2 outputs, one mask: 1 assigns a weight to the gate, 0 to the value. */
    const float weight[2][3] = {{1, 2, 3}, {4, 5, 6}}, x[3] = {0.5f, -1, 2};
    const uint8_t mask[2][3] = {{1, 0, 1}, {0, 1, 1}};
    float y[2];

    mglu_context *context = NULL;
    mglu_device *device;
    mglu_weights *weights = NULL;
    mglu_layer *layer = NULL;
    mglu_memory *workspace = NULL;
    mglu_weights_desc weights_desc = MGLU_WEIGHTS_DESC_INIT;
    mglu_layer_desc layer_desc = MGLU_LAYER_DESC_INIT; /* SiLU, f32 */
    mglu_forward_args args = MGLU_FORWARD_ARGS_INIT;

    weights_desc.hidden_size = 3;
    weights_desc.intermediate_size = 2;
    weights_desc.n_masks = 1;
    weights_desc.weight.data = weight; /* f32 */
    weights_desc.masks.data = mask;
    weights_desc.masks.form = MGLU_MASK_BYTES;
    layer_desc.max_batch = 1;
    args.batch = 1;
    args.x.data = x;
    args.y.data = y;

    mglu_status status = mglu_context_create(NULL, &context);
    if (status == MGLU_OK)
        status = mglu_device_pick(context, "host", &device); /* the best that takes pointers of the host */
    if (status == MGLU_OK)
        status = mglu_weights_create(device, &weights_desc, &weights);
    if (status == MGLU_OK)
        status = mglu_layer_create(weights, &layer_desc, &layer);
    if (status == MGLU_OK)
        status = mglu_memory_create(device, mglu_layer_workspace_size(layer), &workspace);
    if (status == MGLU_OK) {
        args.workspace = mglu_memory_data(workspace);
        args.workspace_size = mglu_memory_size(workspace);
        status = mglu_forward(layer, NULL, &args); /* no queue: y is there when it returns */
    }
    if (status == MGLU_OK)
        printf("y = %.4f %.4f\n", (double)y[0], (double)y[1]);
    else
        fprintf(stderr, "%s: %s\n", mglu_status_string(status), mglu_last_error());

    mglu_memory_destroy(&workspace);
    mglu_layer_destroy(&layer);
    mglu_weights_destroy(&weights);
    mglu_context_destroy(&context);
    return status == MGLU_OK ? 0 : 1;
}
