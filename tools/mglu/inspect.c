/* SPDX-License-Identifier: MIT */
#include "commands.h"
#include "files.h"
#include "layer_size.h"
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

/** Counts the ones in packed masks, where words of all masks alternate. */
static void count_ones(struct summary *layer, const uint32_t *words)
{
    const mglu_weights_desc *weights = &layer->weights;
    const int32_t n_masks = weights->n_masks;
    const size_t count = mglu_packed_mask_size(n_masks, weights->intermediate_size, weights->hidden_size) / 4;
    const double bits = (double)weights->intermediate_size * (double)weights->hidden_size;
    uint64_t ones[MGLU_MAX_MASKS] = {0};
    for (size_t i = 0; i < count; i += (size_t)n_masks)
        for (int32_t mask = 0; mask < n_masks; mask++)
            ones[mask] += (uint64_t)__builtin_popcount(words[i + (size_t)mask]);
    for (int32_t mask = 0; mask < n_masks; mask++)
        layer->ones[mask] = bits > 0 ? (double)ones[mask] / bits : 0;
}

static bool measure_masks(const char *path, struct summary *layer)
{
    const mglu_weights_desc *weights = &layer->weights;
    const size_t bytes = mglu_packed_mask_size(weights->n_masks, weights->intermediate_size, weights->hidden_size);
    uint32_t *words = report_allocate(bytes, 1);
    if (!words)
        return false;
    const bool done = mglu_pack_masks(&weights->masks, weights->n_masks, weights->intermediate_size,
                                      weights->hidden_size, words) == MGLU_OK;
    if (done)
        count_ones(layer, words);
    free(words);
    return done || report_failure("%s: %s: %s", path, layer->prefix, mglu_last_error());
}

/** Describes layer number `index`; `layer->prefix` is NULL after the last. */
static bool summarise(const mglu_file *file, size_t index, struct summary *layer)
{
    *layer = (struct summary){.prefix = mglu_file_layer_at(file, index)};
    if (!layer->prefix)
        return true;
    if (mglu_file_layer(file, layer->prefix, &layer->weights, &layer->desc, &layer->has_activation) != MGLU_OK)
        return report_library(NULL);
    layer->size = layer_size_of(&layer->weights);
    return layer->weights.kind == MGLU_KIND_PLAIN || measure_masks(mglu_file_path(file), layer);
}

static double mean_ones(const struct summary *layer)
{
    double sum = 0;
    for (int32_t i = 0; i < layer->weights.n_masks; i++)
        sum += layer->ones[i];
    return layer->weights.n_masks ? sum / layer->weights.n_masks : 0;
}

static void print_layer(const struct summary *layer)
{
    const mglu_weights_desc *weights = &layer->weights;
    const char *activation = activation_text(layer);
    char *prefix = strdup(layer->prefix);
    if (prefix)
        report_clean(prefix);
    printf("%s\n  %s, h %lld, d %lld, %d masks, %s, activation %s\n", prefix ? prefix : "?", kind_name(layer),
           (long long)weights->hidden_size, (long long)weights->intermediate_size, weights->n_masks,
           mglu_dtype_name(weights->dtype), activation ? activation : "not named");
    free(prefix);
    if (weights->n_masks) {
        printf("  ones %.4f (", mean_ones(layer));
        for (int32_t i = 0; i < weights->n_masks; i++)
            printf("%s%.4f", i ? ", " : "", layer->ones[i]);
        printf(")\n");
    }
    printf("  %llu bytes, a GLU %llu (%.1f %%)\n", (unsigned long long)layer->size.bytes,
           (unsigned long long)layer->size.glu_bytes, layer_size_percent(layer->size));
}

static json_t *layer_json(const struct summary *layer)
{
    const mglu_weights_desc *weights = &layer->weights;
    json_t *ones = json_array();
    for (int32_t i = 0; i < weights->n_masks; i++)
        json_array_append_new(ones, json_real(layer->ones[i]));
    return json_pack("{s:s, s:s, s:I, s:I, s:i, s:s, s:s?, s:o, s:o, s:I, s:I}", "prefix", layer->prefix, "kind",
                     kind_name(layer), "h", (json_int_t)weights->hidden_size, "d",
                     (json_int_t)weights->intermediate_size, "n_masks", weights->n_masks, "dtype",
                     mglu_dtype_name(weights->dtype), "activation", activation_text(layer), "ones",
                     weights->n_masks ? json_real(mean_ones(layer)) : json_null(), "ones_per_mask", ones, "bytes",
                     (json_int_t)layer->size.bytes, "glu_bytes", (json_int_t)layer->size.glu_bytes);
}

static bool print_json(json_t *list, const struct layer_size *total)
{
    json_t *root = json_pack("{s:O, s:I, s:I}", "layers", list, "bytes", (json_int_t)total->bytes, "glu_bytes",
                             (json_int_t)total->glu_bytes);
    const bool done = root && json_dumpf(root, stdout, JSON_INDENT(1)) == 0 && putchar('\n') != EOF;
    json_decref(root);
    return done || report_stdout_failed() || report_failure("JSON: can't be written");
}

/** Adds all layers to the list, or prints them if it is NULL. */
static bool show_layers(const mglu_file *file, json_t *list, struct layer_size *total, size_t *count)
{
    for (*count = 0;; (*count)++) {
        struct summary layer;
        if (!summarise(file, *count, &layer))
            return false;
        if (!layer.prefix)
            return true;
        total->bytes += layer.size.bytes;
        total->glu_bytes += layer.size.glu_bytes;
        if (!list)
            print_layer(&layer);
        else if (json_array_append_new(list, layer_json(&layer)) != 0)
            return report_failure("JSON: out of memory");
    }
}

static bool show(const mglu_file *file, bool json)
{
    struct layer_size total = {0};
    size_t count;
    json_t *list = json ? json_array() : NULL;
    if (json && !list)
        return report_failure("JSON: out of memory");
    bool done = show_layers(file, list, &total, &count);
    if (done && json)
        done = print_json(list, &total);
    else if (done)
        printf("%zu layers, %llu bytes, GLUs %llu (%.1f %%)\n", count, (unsigned long long)total.bytes,
               (unsigned long long)total.glu_bytes, layer_size_percent(total));
    json_decref(list);
    return done;
}

int command_inspect(int argc, char **argv)
{
    static const struct argp_option list[] = {
        {"json", 'j', NULL, 0, "Print a JSON object", 0},
        {0},
    };
    static const struct argp argp = {
        .options = list,
        .parser = parse,
        .args_doc = "FILE",
        .doc = "Shows the layers of a packed file or a training checkpoint: sizes, fractions of ones in the masks, "
               "and bytes of the packed projections relative to a GLU of the same dtype.",
    };
    struct options options = {0};
    mglu_file *file = NULL;
    if (argp_parse(&argp, argc, argv, 0, NULL, &options) != 0)
        return EXIT_FAILED;
    const bool done =
        (mglu_file_open(options.path, 0, &file) == MGLU_OK || report_library(NULL)) && show(file, options.json);
    mglu_file_close(&file);
    return done ? EXIT_SUCCESS : EXIT_FAILED;
}
