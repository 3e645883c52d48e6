/* SPDX-License-Identifier: MIT */
#include "decoder.h"

#include "files.h"
#include "layout_options.h"
#include "tools/common/report.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { NAME_SIZE = 128 };

/** Reads a required tensor [rows][columns], or [columns] with rows 0. */
static bool load(const mglu_file *file, const char *name, int64_t rows, int64_t columns, float **values)
{
    const char *path = mglu_file_path(file);
    const mglu_file_tensor *tensor = mglu_file_find(file, name);
    if (!tensor)
        return report_failure("%s: tensor '%s': missing", path, name);
    if (!tensor_is_float(tensor))
        return report_failure("%s: tensor '%s': %s, not a floating-point dtype", path, name,
                              mglu_file_dtype_name(tensor->dtype));
    const int64_t sizes[] = {rows ? rows : columns, columns};
    const mglu_file_tensor want = {.rank = rows ? 2 : 1, .shape = sizes};
    if (tensor->rank != want.rank || tensor->shape[0] != want.shape[0] || (rows && tensor->shape[1] != columns)) {
        char has[256], wanted[256];
        tensor_shape_text(tensor, has, sizeof has);
        tensor_shape_text(&want, wanted, sizeof wanted);
        return report_failure("%s: tensor '%s': shape %s, not %s as config.json says", path, name, has, wanted);
    }
    *values = tensor_to_f32(tensor);
    for (int64_t i = 0; *values && i < tensor_elements(tensor); i++)
        if (!isfinite((*values)[i]))
            return report_failure("%s: tensor '%s': element %lld is not finite", path, name, (long long)i);
    return *values != NULL;
}

static bool load_linear(const mglu_file *file, int64_t number, const char *which, int64_t inputs, int64_t outputs,
                        bool has_bias, struct linear *linear)
{
    char weight[NAME_SIZE], bias[NAME_SIZE];
    snprintf(weight, sizeof weight, "model.layers.%lld.self_attn.%s.weight", (long long)number, which);
    snprintf(bias, sizeof bias, "model.layers.%lld.self_attn.%s.bias", (long long)number, which);
    return load(file, weight, outputs, inputs, &linear->weight) &&
           (!has_bias || load(file, bias, 0, outputs, &linear->bias));
}

static bool load_attention(const mglu_file *file, const struct config *config, int64_t number,
                           struct decoder_layer *layer)
{
    const int64_t h = config->hidden_size;
    const int64_t wide = config->heads * config->head_dim, narrow = config->kv_heads * config->head_dim;
    char input_norm[NAME_SIZE], post_norm[NAME_SIZE];
    snprintf(input_norm, sizeof input_norm, "model.layers.%lld.input_layernorm.weight", (long long)number);
    snprintf(post_norm, sizeof post_norm, "model.layers.%lld.post_attention_layernorm.weight", (long long)number);
    return load(file, input_norm, 0, h, &layer->input_norm) &&
           load_linear(file, number, "q_proj", h, wide, config->qkv_bias, &layer->q) &&
           load_linear(file, number, "k_proj", h, narrow, config->qkv_bias, &layer->k) &&
           load_linear(file, number, "v_proj", h, narrow, config->qkv_bias, &layer->v) &&
           load_linear(file, number, "o_proj", wide, h, config->o_bias, &layer->o) &&
           load(file, post_norm, 0, h, &layer->post_norm);
}

/** Without the number of masks that its router selects, a layer would compute another sum. */
static bool check_router(const char *path, const char *name, const struct config *config,
                         const mglu_weights_desc *weights)
{
    const long long selected = config->selected_masks;
    if (weights->router.data && !selected)
        return report_failure("%s: %s: has a router, but num_masks_per_tok is missing in config.json; expected the "
                              "number of masks that it selects for a token",
                              path, name);
    if (!weights->router.data && selected)
        return report_failure("%s: %s: has no router, but num_masks_per_tok in config.json is %lld", path, name,
                              selected);
    if (selected > weights->n_masks)
        return report_failure("%s: %s: %d masks, but num_masks_per_tok in config.json is %lld", path, name,
                              weights->n_masks, selected);
    return true;
}

/** Whether a feed-forward layer matches config.json. */
static bool check_ffn(const char *path, const char *name, const struct config *config, const mglu_weights_desc *weights)
{
    if (!weights->output_size)
        return report_failure("%s: %s: has no down-projection", path, name);
    if (weights->hidden_size != config->hidden_size || weights->intermediate_size != config->intermediate_size ||
        weights->output_size != config->hidden_size)
        return report_failure("%s: %s: sizes %lld -> %lld -> %lld, not %lld -> %lld -> %lld as config.json says", path,
                              name, (long long)weights->hidden_size, (long long)weights->intermediate_size,
                              (long long)weights->output_size, (long long)config->hidden_size,
                              (long long)config->intermediate_size, (long long)config->hidden_size);
    const bool has_bias = weights->gate_bias.data || weights->value_bias.data || weights->down_bias.data;
    if (config->has_mlp_bias && config->mlp_bias != has_bias)
        return report_failure("%s: %s: %s, but mlp_bias in config.json is %s", path, name,
                              has_bias ? "has a bias" : "has no bias", config->mlp_bias ? "true" : "false");
    if (config->num_masks >= 0 && config->num_masks != weights->n_masks)
        return report_failure("%s: %s: %d masks, but num_masks in config.json is %lld", path, name, weights->n_masks,
                              (long long)config->num_masks);
    return check_router(path, name, config, weights);
}

static bool load_ffn(const mglu_file *file, struct decoder *decoder, int64_t number)
{
    const struct config *config = &decoder->config;
    char name[NAME_SIZE];
    mglu_weights_desc weights = {.struct_size = sizeof weights};
    mglu_layer_desc desc = {.struct_size = sizeof desc};
    int has_activation;
    snprintf(name, sizeof name, "model.layers.%lld.mlp", (long long)number);
    if (mglu_file_layer(file, name, &weights, &desc, &has_activation) != MGLU_OK)
        return report_library(NULL);
    if (!check_ffn(mglu_file_path(file), name, config, &weights))
        return false;
    if (has_activation && desc.activation != config->activation)
        return report_failure("%s: %s: activation %s, but hidden_act in config.json means %s", mglu_file_path(file),
                              name, mglu_activation_name(desc.activation), mglu_activation_name(config->activation));
    weights.flags |= mapping_weights_flags(decoder->file_flags);
    desc.activation = config->activation;
    desc.max_batch = decoder->capacity;
    desc.top_k = (int32_t)config->selected_masks;
    desc.flags |= decoder->compute->layer_flags;
    return ffn_create(&decoder->layers[number].ffn, decoder->compute->device, &weights, &desc, name);
}

static bool load_all(const mglu_file *file, struct decoder *decoder)
{
    const struct config *config = &decoder->config;
    const int64_t h = config->hidden_size;
    if (!load(file, "model.embed_tokens.weight", config->vocab_size, h, &decoder->embedding) ||
        !load(file, "model.norm.weight", 0, h, &decoder->norm) ||
        (!config->tied && !load(file, "lm_head.weight", config->vocab_size, h, &decoder->head)))
        return false;
    for (int64_t i = 0; i < config->layers; i++) {
        decoder->layers[i].window = config_window(config, i);
        if (!load_attention(file, config, i, &decoder->layers[i]) || !load_ffn(file, decoder, i))
            return false;
    }
    return true;
}

static bool allocate_rows(float **rows, int64_t count, int64_t width)
{
    *rows = report_allocate((size_t)count, (size_t)width * sizeof **rows);
    return *rows != NULL;
}

static bool allocate(struct decoder *decoder)
{
    const struct config *config = &decoder->config;
    struct decoder_scratch *scratch = &decoder->scratch;
    const int64_t count = decoder->capacity, wide = config->heads * config->head_dim;
    bool done = allocate_rows(&scratch->hidden, count, config->hidden_size) &&
                allocate_rows(&scratch->normed, count, config->hidden_size) &&
                allocate_rows(&scratch->queries, count, wide) && allocate_rows(&scratch->attention, count, wide) &&
                allocate_rows(&scratch->scores, count, 1) &&
                allocate_rows(&decoder->cosines, count, config->head_dim / 2) &&
                allocate_rows(&decoder->sines, count, config->head_dim / 2);
    for (int64_t i = 0; done && i < config->layers; i++)
        done = allocate_rows(&decoder->layers[i].keys, count, config->kv_heads * config->head_dim) &&
               allocate_rows(&decoder->layers[i].values, count, config->kv_heads * config->head_dim);
    if (done)
        rope_fill(&config->rope, count, config->head_dim / 2, decoder->cosines, decoder->sines);
    return done;
}

static bool open_file(struct decoder *decoder, const char *dir, uint32_t file_flags)
{
    mglu_file *file = NULL;
    /* The file comes first: once its shapes match the config, the config's sizes can't request absurd amounts of
     * memory. */
    const bool opened = layout_complete_flags(dir, &file_flags) &&
                        (mglu_file_open_folder(dir, file_flags, &file) == MGLU_OK || report_library(NULL));
    const bool done = opened && load_all(file, decoder) &&
                      (file_flags & MGLU_FILE_IGNORE_UNREAD || decoder_reads_all(file, &decoder->config)) &&
                      allocate(decoder);
    if (done && file_flags & MGLU_FILE_MMAP)
        decoder->file = file;
    else
        mglu_file_close(&file);
    return done;
}

bool decoder_open(struct decoder *decoder, const char *dir, const struct config *config, struct compute *compute,
                  int64_t capacity, uint32_t file_flags)
{
    *decoder = (struct decoder){.config = *config, .compute = compute, .capacity = capacity, .file_flags = file_flags};
    decoder->layers = report_allocate((size_t)config->layers, sizeof *decoder->layers);
    if (decoder->layers && open_file(decoder, dir, file_flags))
        return true;
    decoder_close(decoder);
    return false;
}

static void free_layer(struct decoder_layer *layer)
{
    float *parts[] = {layer->input_norm, layer->post_norm, layer->keys,     layer->values,
                      layer->q.weight,   layer->q.bias,    layer->k.weight, layer->k.bias,
                      layer->v.weight,   layer->v.bias,    layer->o.weight, layer->o.bias};
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        free(parts[i]);
    ffn_destroy(&layer->ffn);
}

void decoder_close(struct decoder *decoder)
{
    const struct decoder_scratch *scratch = &decoder->scratch;
    float *parts[] = {decoder->embedding, decoder->norm,   decoder->head,    decoder->cosines,   decoder->sines,
                      scratch->hidden,    scratch->normed, scratch->queries, scratch->attention, scratch->scores};
    for (int64_t i = 0; decoder->layers && i < decoder->config.layers; i++)
        free_layer(&decoder->layers[i]);
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        free(parts[i]);
    free(decoder->layers);
    mglu_file_close(&decoder->file);
    *decoder = (struct decoder){0};
}
