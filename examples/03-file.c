/* SPDX-License-Identifier: MIT */
/*
 * Layers of a file or folder, safetensors or GGUF: lists them and runs the first, or the one that is named, on ones.
 * mglu pack makes the small file of a checkpoint, with a bit per mask; a checkpoint itself is read as well.
 *
 *     cc 03-file.c -o 03-file $(pkg-config --cflags --libs mglu-io)
 *     mglu pack checkpoint.safetensors packed.safetensors
 *     ./03-file packed.safetensors
 *
 * For the model in tests/data/licence-lm it prints:
 *     model.layers.0.mlp.up_proj: 128 to 512, 4 masks, f16
 *     model.layers.1.mlp.up_proj: 128 to 512, 4 masks, f16
 *     model.layers.2.mlp.up_proj: 128 to 512, 4 masks, f16
 *     model.layers.3.mlp.up_proj: 128 to 512, 4 masks, f16
 *     model.layers.0.mlp.up_proj of ones: y = -0.1848 -0.2083 -1.0046 0.0416 ...
 */
#include <mglu/io.h>
#include <mglu/mglu.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

/** Ends the program where a call failed. */
static void require(mglu_status status)
{
    if (status == MGLU_OK)
        return;
    fprintf(stderr, "%s: %s\n", mglu_status_string(status), mglu_last_error());
    exit(1);
}

/** Mapped: packed weights are used where they are, and only what is read is loaded. */
static mglu_file *open_model(const char *path)
{
    struct stat status;
    mglu_file *file;
    if (stat(path, &status) == 0 && S_ISDIR(status.st_mode))
        require(mglu_file_open_folder(path, MGLU_FILE_MMAP, &file));
    else
        require(mglu_file_open(path, MGLU_FILE_MMAP, &file));
    return file;
}

static void list_layers(const mglu_file *file)
{
    const char *name;
    mglu_weights_desc weights = MGLU_WEIGHTS_DESC_INIT;
    mglu_layer_desc layer = MGLU_LAYER_DESC_INIT;
    for (size_t i = 0; (name = mglu_file_layer_at(file, i)) != NULL; i++) {
        require(mglu_file_layer(file, name, &weights, &layer, NULL));
        printf("%s: %lld to %lld, %d masks, %s\n", name, (long long)weights.hidden_size,
               (long long)weights.intermediate_size, weights.n_masks, mglu_dtype_name(weights.dtype));
    }
}

/** y = layer(x) for one token. With the flag the file must stay open as long as the weights are used. */
static void forward(mglu_weights_desc *weights_desc, const mglu_layer_desc *layer_desc, const float *x, float *y)
{
    mglu_context *context;
    mglu_device *device;
    mglu_weights *weights;
    mglu_layer *layer;
    mglu_memory *workspace;
    mglu_forward_args args = {.struct_size = sizeof args, .batch = 1, .x.data = x, .y.data = y};

    weights_desc->flags |= MGLU_WEIGHTS_BORROW;
    require(mglu_context_create(NULL, &context));
    require(mglu_device_pick(context, "host", &device));
    require(mglu_weights_create(device, weights_desc, &weights));
    require(mglu_layer_create(weights, layer_desc, &layer));
    require(mglu_memory_create(device, mglu_layer_workspace_size(layer), &workspace));
    args.workspace = mglu_memory_data(workspace);
    args.workspace_size = mglu_memory_size(workspace);
    require(mglu_forward(layer, NULL, &args));
    mglu_memory_destroy(&workspace);
    mglu_layer_destroy(&layer);
    mglu_weights_destroy(&weights);
    mglu_context_destroy(&context);
}

static void run_layer(const mglu_file *file, const char *name)
{
    mglu_weights_desc weights = MGLU_WEIGHTS_DESC_INIT;
    mglu_layer_desc layer = MGLU_LAYER_DESC_INIT; /* x and y are f32 and the batch is 1, unless changed here */
    require(mglu_file_layer(file, name, &weights, &layer, NULL));
    const int64_t outputs = weights.down.data ? weights.output_size : weights.intermediate_size;
    float *x = calloc((size_t)weights.hidden_size + 1, sizeof *x), *y = calloc((size_t)outputs + 1, sizeof *y);
    if (!x || !y)
        exit(1);
    for (int64_t i = 0; i < weights.hidden_size; i++)
        x[i] = 1;
    forward(&weights, &layer, x, y);
    printf("%s of ones: y =", name);
    for (int64_t i = 0; i < outputs && i < 4; i++)
        printf(" %.4f", (double)y[i]);
    printf("%s\n", outputs > 4 ? " ..." : "");
    free(x);
    free(y);
}

int main(int count, char **arguments)
{
    if (count < 2) {
        fprintf(stderr, "usage: %s FILE_OR_FOLDER [LAYER]\n", arguments[0]);
        return 2;
    }
    mglu_file *file = open_model(arguments[1]);
    list_layers(file);
    const char *name = count > 2 ? arguments[2] : mglu_file_layer_at(file, 0);
    if (name)
        run_layer(file, name);
    mglu_file_close(&file);
    return 0;
}
