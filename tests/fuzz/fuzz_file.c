/* SPDX-License-Identifier: MIT */
#include "weights_file.h"

/*
 * The input is a weights file: opened, read to its last byte, its layers listed and loaded, and one token computed with
 * each. For any content the calls must return a status and a text, and access nothing outside of the file. Mapped, with
 * the order of rows given where the file does not say it, it has the same tensors.
 */

/* Larger layers take long and show nothing new: their sizes are checked in the same way. */
enum { MOST_ELEMENTS = 1 << 14, MOST_LAYERS = 4 };

static bool is_small(const mglu_weights_desc *weights)
{
    const int64_t sizes[] = {weights->hidden_size, weights->intermediate_size, weights->output_size};

    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        if (sizes[i] > MOST_ELEMENTS)
            return false;
    return weights->intermediate_size * (weights->hidden_size + weights->output_size) <= MOST_ELEMENTS;
}

static void forward(mglu_device *device, mglu_layer *layer)
{
    static float x[MOST_ELEMENTS] = {1, -2, 0.5f}, y[MOST_ELEMENTS];
    mglu_queue *queue;
    mglu_memory *workspace;

    fuzz_require(mglu_queue_create(device, NULL, &queue) == MGLU_OK, "no queue");
    fuzz_require(mglu_memory_create(device, mglu_layer_workspace_size(layer), &workspace) == MGLU_OK, "no workspace");
    const mglu_forward_args args = {.struct_size = sizeof args,
                                    .batch = 1,
                                    .x = {.data = x},
                                    .y = {.data = y},
                                    .workspace = mglu_memory_data(workspace),
                                    .workspace_size = mglu_memory_size(workspace)};
    fuzz_require(mglu_forward(layer, queue, &args) == MGLU_OK, "a layer does not run");
    fuzz_require(mglu_queue_wait(queue) == MGLU_OK, "a queue reports a failure");
    mglu_memory_destroy(&workspace);
    mglu_queue_destroy(&queue);
}

/* The values of a file are checked when weights are made of them. */
static void compute(const mglu_weights_desc *desc, const mglu_layer_desc *layer_desc)
{
    static mglu_device *device;
    mglu_weights *weights;
    mglu_layer *layer;
    mglu_status status;

    if (!device)
        device = fuzz_device("cpu");
    status = mglu_weights_create(device, desc, &weights);
    fuzz_check_status(status, "mglu_weights_create");
    if (status != MGLU_OK) {
        fuzz_require(status == MGLU_ERROR_NONFINITE || status == MGLU_ERROR_INVALID_ARGUMENT,
                     "weights of a file have a wrong status");
        return;
    }
    fuzz_require(mglu_layer_create(weights, layer_desc, &layer) == MGLU_OK, "no layer of weights of a file");
    forward(device, layer);
    mglu_layer_destroy(&layer);
    mglu_weights_destroy(&weights);
}

/* Loads some layers; `flags` are those that the file was opened with. Returns whether they lacked the order of rows. */
static bool load_layers(const mglu_file *file, uint32_t flags)
{
    mglu_weights_desc weights = {.struct_size = sizeof weights};
    mglu_layer_desc layer = {.struct_size = sizeof layer};
    int has_activation;
    bool is_unordered = false;

    for (size_t i = 0; mglu_file_layer_at(file, i) && i < MOST_LAYERS; i++) {
        mglu_status status = mglu_file_layer(file, mglu_file_layer_at(file, i), &weights, &layer, &has_activation);
        const bool lacks_order = status == MGLU_ERROR_INVALID_ARGUMENT && !(flags & MGLU_FILE_FUSED_HALVES);

        fuzz_require(lacks_order || file_is_layer_status(status), "a listed layer has a wrong status");
        is_unordered |= lacks_order;
        if (status == MGLU_OK && is_small(&weights))
            compute(&weights, &layer);
    }
    fuzz_check_status(mglu_file_layer(file, "no such layer", &weights, &layer, NULL), "mglu_file_layer");
    return is_unordered;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    const uint32_t mapping = MGLU_FILE_MMAP | MGLU_FILE_FUSED_HALVES;
    const char *path = fuzz_file(0, "weights", bytes, size);
    mglu_file *read, *mapped;
    mglu_status status = mglu_file_open(path, 0, &read);
    bool is_unordered;

    fuzz_check_status(status, "mglu_file_open");
    /* unsupported: a GGUF file of another kind */
    fuzz_require(status == MGLU_OK || status == MGLU_ERROR_CORRUPT_FILE || status == MGLU_ERROR_UNSUPPORTED,
                 "opening has a wrong status");
    if (status != MGLU_OK)
        return 0;
    file_read_tensors(read);
    is_unordered = load_layers(read, 0);
    fuzz_require(mglu_file_open(path, mapping, &mapped) == MGLU_OK, "a file can be read but not mapped");
    fuzz_require(mglu_file_tensor_count(mapped) == mglu_file_tensor_count(read), "a mapped file has other tensors");
    file_read_tensors(mapped);
    if (is_unordered)
        load_layers(mapped, mapping);
    mglu_file_close(&mapped);
    mglu_file_close(&read);
    return 0;
}
