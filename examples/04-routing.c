/* SPDX-License-Identifier: MIT */
/*
 * Routing: each token uses K of the masks. The layer's router chooses them, or the caller does; then a down-projection,
 * and a residual. Two tokens, three masks, K = 2.
 *
 *     cc 04-routing.c -o 04-routing $(pkg-config --cflags --libs mglu) -lm
 *
 * The router's logits are 2, 1, -3 for token 0: it chooses masks 0 and 1, with softmax(2, 1) as weights. For token 1
 * they are -1, 3, 1: masks 1 and 2, with softmax(3, 1). It prints:
 *     by the router: y = 9.9934 20.0120, 34.7055 77.2722
 *     by the caller: y = 9.9934 20.0120, 34.7055 77.2722
 */
#include <math.h>
#include <mglu/mglu.h>
#include <stdio.h>
#include <stdlib.h>

enum { HIDDEN = 3, INTERMEDIATE = 2, OUTPUT = 2, MASKS = 3, TOP_K = 2, TOKENS = 2 };

static const float weight[INTERMEDIATE][HIDDEN] = {{1, 2, 3}, {4, 5, 6}};
static const uint8_t masks[MASKS][INTERMEDIATE][HIDDEN] = {
    {{1, 0, 1}, {0, 1, 1}}, {{0, 1, 1}, {1, 0, 1}}, {{1, 1, 0}, {0, 0, 1}}};
static const float router[MASKS][HIDDEN] = {{1, 0, 0}, {0, 1, 0}, {0, 0, 1}}; /* the logits are x itself */
static const float down[OUTPUT][INTERMEDIATE] = {{0.5f, 0.25f}, {-1, 1}};

static const float x[TOKENS][HIDDEN] = {{2, 1, -3}, {-1, 3, 1}};
static const float residual[TOKENS][OUTPUT] = {{10, 20}, {30, 40}};

/** Ends the program where a call failed. */
static void require(mglu_status status)
{
    if (status == MGLU_OK)
        return;
    fprintf(stderr, "%s: %s\n", mglu_status_string(status), mglu_last_error());
    exit(1);
}

static mglu_layer *create_layer(mglu_device *device)
{
    const mglu_weights_desc weights_desc = {.struct_size = sizeof weights_desc,
                                            .hidden_size = HIDDEN,
                                            .intermediate_size = INTERMEDIATE,
                                            .output_size = OUTPUT,
                                            .n_masks = MASKS,
                                            .weight.data = weight,
                                            .masks = {.data = masks, .form = MGLU_MASK_BYTES},
                                            .router.data = router,
                                            .down.data = down};
    const mglu_layer_desc layer_desc = {.struct_size = sizeof layer_desc, .top_k = TOP_K, .max_batch = TOKENS};
    mglu_weights *weights;
    mglu_layer *layer;
    require(mglu_weights_create(device, &weights_desc, &weights));
    require(mglu_layer_create(weights, &layer_desc, &layer));
    mglu_weights_destroy(&weights); /* the layer holds its own reference */
    return layer;
}

/** Without ids the router chooses. An id out of range is an error of the forward. */
static void forward(mglu_layer *layer, mglu_memory *workspace, const int32_t (*ids)[TOP_K],
                    const float (*weights)[TOP_K])
{
    float y[TOKENS][OUTPUT];
    const mglu_forward_args args = {.struct_size = sizeof args,
                                    .batch = TOKENS,
                                    .x.data = x,
                                    .y.data = y,
                                    .residual.data = residual,
                                    .routing_ids.data = ids,
                                    .routing_weights.data = weights,
                                    .workspace = mglu_memory_data(workspace),
                                    .workspace_size = mglu_memory_size(workspace)};
    require(mglu_forward(layer, NULL, &args));
    printf("by the %s: y = %.4f %.4f, %.4f %.4f\n", ids ? "caller" : "router", (double)y[0][0], (double)y[0][1],
           (double)y[1][0], (double)y[1][1]);
}

int main(void)
{
    mglu_context *context;
    mglu_device *device;
    mglu_memory *workspace;

    require(mglu_context_create(NULL, &context));
    require(mglu_device_pick(context, "host", &device));
    mglu_layer *layer = create_layer(device);
    require(mglu_memory_create(device, mglu_layer_workspace_size(layer), &workspace));

    forward(layer, workspace, NULL, NULL);
    const float p = 1 / (1 + expf(-1)), q = 1 / (1 + expf(-2)); /* the same by hand: softmax(2, 1) and softmax(3, 1) */
    const int32_t ids[TOKENS][TOP_K] = {{0, 1}, {1, 2}};
    const float weights[TOKENS][TOP_K] = {{p, 1 - p}, {q, 1 - q}};
    forward(layer, workspace, ids, weights);

    mglu_memory_destroy(&workspace);
    mglu_layer_destroy(&layer);
    mglu_context_destroy(&context);
    return 0;
}
