/* SPDX-License-Identifier: MIT */
#include "commands.h"
#include "files.h"
#include "layer_size.h"
#include "layout_options.h"
#include "tools/common/arguments.h"
#include "tools/common/report.h"

#include <mglu/mglu.h>

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct options {
    char *path;
    bool json;
    uint32_t file_flags; /**< for mglu_file_open() */
};

/** The properties of a layer that are printed. */
struct summary {
    const char *prefix;
    mglu_weights_desc weights;
    mglu_layer_desc desc;
    int has_activation;
    struct layer_size size;
    double ones[MGLU_MAX_MASKS]; /**< fraction of ones in each mask */
};

static error_t parse(int key, char *argument, struct argp_state *state)
{
    struct options *options = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &options->file_flags;
        return 0;
    case 'j':
        options->json = true;
        return 0;
    case ARGP_KEY_ARG:
        arguments_operand(state, argument, (char **const[]){&options->path}, 1);
        return 0;
    case ARGP_KEY_END:
        arguments_need(state, options->path, "FILE");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const char *kind_name(const struct summary *layer)
{
    return layer->weights.kind == MGLU_KIND_MASKED ? "masked" : "plain";
}

static const char *activation_text(const struct summary *layer)
{
    return layer->has_activation ? mglu_activation_name(layer->desc.activation) : NULL;
}

/** Adds the ones of each mask; the words of all masks alternate. */
static void count_ones(const uint32_t *words, size_t count, int32_t n_masks, uint64_t ones[MGLU_MAX_MASKS])
{
    for (size_t i = 0; i < count; i++)
        ones[i % (size_t)n_masks] += (uint64_t)__builtin_popcount(words[i]);
}

/** Reads the masks, which have words, in pieces. */
static bool count_masks(const mglu_file *file, const struct summary *layer, uint64_t ones[MGLU_MAX_MASKS])
{
    enum { PIECE = 1 << 20 };
    const mglu_weights_desc *weights = &layer->weights;
    const int64_t d = weights->intermediate_size;
    const size_t row_bytes = mglu_packed_mask_stride_bytes(weights->n_masks, weights->hidden_size);
    const int64_t most = row_bytes < PIECE ? (int64_t)(PIECE / row_bytes) : 1;
    uint32_t *words = report_allocate((size_t)most, row_bytes);
    bool done = words != NULL;
    for (int64_t row = 0; done && row < d; row += most) {
        const int64_t rows = d - row < most ? d - row : most;
        done = mglu_file_masks(file, layer->prefix, row, rows, words) == MGLU_OK || report_library(NULL);
        if (done)
            count_ones(words, (size_t)rows * row_bytes / sizeof *words, weights->n_masks, ones);
    }
    free(words);
    return done;
}

static bool measure_masks(const mglu_file *file, struct summary *layer)
{
    const mglu_weights_desc *weights = &layer->weights;
    const double bits = (double)weights->intermediate_size * (double)weights->hidden_size;
    uint64_t ones[MGLU_MAX_MASKS] = {0};
    if (bits > 0 && !count_masks(file, layer, ones))
        return false;
    for (int32_t mask = 0; mask < weights->n_masks; mask++)
        layer->ones[mask] = bits > 0 ? (double)ones[mask] / bits : 0;
    return true;
}

/** Describes layer number `index`; `layer->prefix` is NULL after the last. */
static bool summarise(const mglu_file *file, size_t index, struct summary *layer)
{
    *layer = (struct summary){.prefix = mglu_file_layer_at(file, index),
                              .weights.struct_size = sizeof layer->weights,
                              .desc.struct_size = sizeof layer->desc};
    if (!layer->prefix)
        return true;
    if (mglu_file_layer(file, layer->prefix, &layer->weights, &layer->desc, &layer->has_activation) != MGLU_OK)
        return report_library(NULL);
    layer->size = layer_size_of(&layer->weights);
    return layer->weights.kind == MGLU_KIND_PLAIN || measure_masks(file, layer);
}

static double mean_ones(const struct summary *layer)
{
    double sum = 0;
    for (int32_t i = 0; i < layer->weights.n_masks; i++)
        sum += layer->ones[i];
    return layer->weights.n_masks ? sum / layer->weights.n_masks : 0;
}

/** Prints a text from a file without its control characters. */
static void print_clean(const char *text)
{
    for (; *text; text++)
        putchar((unsigned char)*text < ' ' || *text == 127 ? '?' : *text);
}

static void print_layer(const struct summary *layer)
{
    const mglu_weights_desc *weights = &layer->weights;
    const char *activation = activation_text(layer);
    print_clean(layer->prefix);
    printf("\n  %s, h %lld, d %lld, %d masks, %s, activation %s\n", kind_name(layer), (long long)weights->hidden_size,
           (long long)weights->intermediate_size, weights->n_masks, mglu_dtype_name(weights->dtype),
           activation ? activation : "not named");
    if (weights->n_masks) {
        printf("  ones %.4f (", mean_ones(layer));
        for (int32_t i = 0; i < weights->n_masks; i++)
            printf("%s%.4f", i ? ", " : "", layer->ones[i]);
        printf(")\n");
    }
    printf("  %llu bytes, a GLU %llu (%.1f %%)\n", (unsigned long long)layer->size.bytes,
           (unsigned long long)layer->size.glu_bytes, layer_size_percent(layer->size));
}

/** NULL when out of memory. */
static json_t *ones_json(const struct summary *layer)
{
    json_t *ones = json_array();
    for (int32_t i = 0; ones && i < layer->weights.n_masks; i++)
        if (json_array_append_new(ones, json_real(layer->ones[i])) != 0) {
            json_decref(ones);
            return NULL;
        }
    return ones;
}

static json_t *layer_json(const struct summary *layer)
{
    const mglu_weights_desc *weights = &layer->weights;
    return json_pack("{s:s, s:s, s:I, s:I, s:i, s:s, s:s?, s:o, s:o, s:I, s:I}", "prefix", layer->prefix, "kind",
                     kind_name(layer), "h", (json_int_t)weights->hidden_size, "d",
                     (json_int_t)weights->intermediate_size, "n_masks", weights->n_masks, "dtype",
                     mglu_dtype_name(weights->dtype), "activation", activation_text(layer), "ones",
                     weights->n_masks ? json_real(mean_ones(layer)) : json_null(), "ones_per_mask", ones_json(layer),
                     "bytes", (json_int_t)layer->size.bytes, "glu_bytes", (json_int_t)layer->size.glu_bytes);
}

/** Prints a layer in a line of its own, so that no more than one is in memory. */
static bool print_layer_json(const struct summary *layer, bool first)
{
    json_t *object = layer_json(layer);
    const bool done = object && fputs(first ? "\n  " : ",\n  ", stdout) >= 0 && json_dumpf(object, stdout, 0) == 0;
    json_decref(object);
    return done || report_stdout_failed() || report_failure("JSON: out of memory");
}

static bool print_layers(const mglu_file *file, bool json, struct layer_size *total, size_t *count)
{
    for (*count = 0;; (*count)++) {
        struct summary layer;
        if (!summarise(file, *count, &layer))
            return false;
        if (!layer.prefix)
            return true;
        total->bytes += layer.size.bytes;
        total->glu_bytes += layer.size.glu_bytes;
        if (!json)
            print_layer(&layer);
        else if (!print_layer_json(&layer, *count == 0))
            return false;
    }
}

static bool show(const mglu_file *file, bool json)
{
    struct layer_size total = {0};
    size_t count;
    if (json)
        printf("{\n \"layers\": [");
    if (!print_layers(file, json, &total, &count))
        return false;
    if (json)
        printf("%s],\n \"bytes\": %llu,\n \"glu_bytes\": %llu\n}\n", count ? "\n " : "",
               (unsigned long long)total.bytes, (unsigned long long)total.glu_bytes);
    else
        printf("%zu layers, %llu bytes, GLUs %llu (%.1f %%)\n", count, (unsigned long long)total.bytes,
               (unsigned long long)total.glu_bytes, layer_size_percent(total));
    return true;
}

/** A file without layers: lists its first tensors, and reports what was looked for. */
static bool show_unknown(const mglu_file *file, bool json)
{
    enum { SHOWN = 20 };
    const size_t count = mglu_file_tensor_count(file);
    for (size_t i = 0; i < count && i < SHOWN && !json; i++) {
        const mglu_file_tensor *tensor = mglu_file_tensor_at(file, i);
        char shape[256];
        tensor_shape_text(tensor, shape, sizeof shape);
        print_clean(tensor->name);
        printf(" %s %s\n", mglu_file_dtype_name(tensor->dtype), shape);
    }
    if (count > SHOWN && !json)
        printf("and %zu more tensors\n", count - SHOWN);
    mglu_weights_desc weights = {.struct_size = sizeof weights};
    mglu_layer_desc desc = {.struct_size = sizeof desc};
    return mglu_file_layer(file, "", &weights, &desc, NULL) == MGLU_OK || report_library(NULL);
}

int command_inspect(int argc, char **argv)
{
    static const struct argp_option list[] = {
        {"json", 'j', NULL, 0, "Print a JSON object", 0},
        {0},
    };
    static const struct argp_child children[] = {{.argp = &layout_argp}, {0}};
    static const struct argp argp = {
        .options = list,
        .parser = parse,
        .children = children,
        .args_doc = "FILE",
        .doc =
            "Shows the layers of a packed file, a training checkpoint, a GGUF file or the model in a folder: sizes, "
            "fractions of ones in the masks, and bytes of the packed projections relative to a GLU of the same dtype. "
            "Weights and scales are not read, and so not checked.",
    };
    struct options options = {0};
    mglu_file *file = NULL;
    if (!arguments_parse(&argp, argc, argv, 0, &options))
        return EXIT_FAILED;
    /* No value of a fused matrix is printed, so that any order does. */
    if (!(options.file_flags & MGLU_FILE_FUSED_INTERLEAVED))
        options.file_flags |= MGLU_FILE_FUSED_HALVES;
    /* Besides the header only the masks are read: their values are printed, those of weights are not. */
    const bool done = model_open(options.path, options.file_flags | MGLU_FILE_HEADER, &file) &&
                      (mglu_file_layer_at(file, 0) ? show(file, options.json) : show_unknown(file, options.json));
    mglu_file_close(&file);
    return done ? EXIT_SUCCESS : EXIT_FAILED;
}
