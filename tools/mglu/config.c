/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "files.h"
#include "tools/common/report.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/** Larger than any config.json, so that a wrong file is not read completely. */
enum { CONFIG_LIMIT = 1 << 20 };

static const int64_t most_layers = 1 << 16;
static const int64_t not_optional = INT64_MIN;

/** A parsed file, and its name for error messages. */
struct source {
    const char *path;
    json_t *root;
};

static const struct {
    const char *name;
    mglu_activation activation;
} activation_names[] = {
    {"silu", MGLU_ACTIVATION_SILU},          {"gelu", MGLU_ACTIVATION_GELU_ERF},
    {"gelu_new", MGLU_ACTIVATION_GELU_TANH}, {"gelu_pytorch_tanh", MGLU_ACTIVATION_GELU_TANH},
    {"relu", MGLU_ACTIVATION_RELU},          {"sigmoid", MGLU_ACTIVATION_SIGMOID},
    {"identity", MGLU_ACTIVATION_IDENTITY},
};

static bool source_open(const char *path, struct source *source)
{
    char *text;
    size_t size;
    json_error_t error;
    if (!text_load(path, CONFIG_LIMIT, &text, &size))
        return false;
    source->path = path;
    source->root = json_loadb(text, size, JSON_REJECT_DUPLICATES, &error);
    free(text);
    if (!source->root)
        return report_failure("%s: line %d: %s", path, error.line, error.text);
    if (json_is_object(source->root))
        return true;
    json_decref(source->root);
    return report_failure("%s: not a JSON object", path);
}

/** NULL for an absent key, and for null, which transformers writes for some. */
static json_t *find(const struct source *source, const char *key)
{
    json_t *value = json_object_get(source->root, key);
    return json_is_null(value) ? NULL : value;
}

/** A whole number; `missing` is its value when absent; with not_optional it must be present. */
static bool read_whole(const struct source *source, const char *key, int64_t lowest, int64_t highest, int64_t missing,
                       int64_t *value)
{
    const json_t *found = find(source, key);
    if (!found && missing == not_optional)
        return report_failure("%s: %s: missing", source->path, key);
    if (found && !json_is_integer(found))
        return report_failure("%s: %s: not a whole number", source->path, key);
    *value = found ? json_integer_value(found) : missing;
    if (found && (*value < lowest || *value > highest))
        return report_failure("%s: %s: %lld is not in %lld..%lld", source->path, key, (long long)*value,
                              (long long)lowest, (long long)highest);
    return true;
}

static bool read_real(const struct source *source, const char *key, double lowest, double highest, double *value)
{
    const json_t *found = find(source, key);
    if (!found)
        return report_failure("%s: %s: missing", source->path, key);
    if (!json_is_number(found))
        return report_failure("%s: %s: not a number", source->path, key);
    *value = json_number_value(found);
    if (!(*value >= lowest && *value <= highest))
        return report_failure("%s: %s: %g is not in %g..%g", source->path, key, *value, lowest, highest);
    return true;
}

/** False when absent, as in transformers' LlamaConfig. */
static bool read_flag(const struct source *source, const char *key, bool *value)
{
    const json_t *found = find(source, key);
    if (found && !json_is_boolean(found))
        return report_failure("%s: %s: neither true nor false", source->path, key);
    *value = json_is_true(found);
    return true;
}

static bool read_text(const struct source *source, const char *key, const char **value)
{
    const json_t *found = find(source, key);
    if (!found)
        return report_failure("%s: %s: missing", source->path, key);
    if (!json_is_string(found))
        return report_failure("%s: %s: not a text", source->path, key);
    *value = json_string_value(found);
    return true;
}

static bool read_activation(const struct source *source, mglu_activation *activation)
{
    enum { COUNT = sizeof activation_names / sizeof activation_names[0] };
    const char *name = NULL;
    if (!read_text(source, "hidden_act", &name))
        return false;
    char known[256] = "";
    for (int i = 0; i < COUNT; i++) {
        if (strcmp(activation_names[i].name, name) == 0) {
            *activation = activation_names[i].activation;
            return true;
        }
        strcat(strcat(known, i ? ", " : ""), activation_names[i].name);
    }
    return report_failure("%s: hidden_act: unknown activation '%s'; known are %s", source->path, name, known);
}

static bool read_sizes(const struct source *source, struct config *config)
{
    const int64_t most = MGLU_MAX_SIZE, no = not_optional;
    return read_whole(source, "hidden_size", 1, most, no, &config->hidden_size) &&
           read_whole(source, "intermediate_size", 1, most, no, &config->intermediate_size) &&
           read_whole(source, "num_hidden_layers", 1, most_layers, no, &config->layers) &&
           read_whole(source, "num_attention_heads", 1, most, no, &config->heads) &&
           read_whole(source, "num_key_value_heads", 1, most, config->heads, &config->kv_heads) &&
           read_whole(source, "head_dim", 2, most, config->hidden_size / config->heads, &config->head_dim) &&
           read_whole(source, "vocab_size", 1, most, no, &config->vocab_size) &&
           read_whole(source, "max_position_embeddings", 1, MGLU_MAX_BATCH, no, &config->max_positions) &&
           read_whole(source, "num_masks", 0, MGLU_MAX_MASKS, -1, &config->num_masks);
}

/** Checks the relations between keys. */
static bool check_heads(const struct source *source, const struct config *config)
{
    if (!find(source, "head_dim") && config->hidden_size % config->heads != 0)
        return report_failure("%s: num_attention_heads: %lld does not divide hidden_size %lld", source->path,
                              (long long)config->heads, (long long)config->hidden_size);
    if (config->heads % config->kv_heads != 0)
        return report_failure("%s: num_key_value_heads: %lld does not divide num_attention_heads %lld", source->path,
                              (long long)config->kv_heads, (long long)config->heads);
    if (config->head_dim % 2 != 0)
        return report_failure("%s: head_dim: %lld is odd, rotary attention needs pairs", source->path,
                              (long long)config->head_dim);
    if (config->head_dim > MGLU_MAX_SIZE / config->heads)
        return report_failure("%s: head_dim: %lld with %lld heads is too large", source->path,
                              (long long)config->head_dim, (long long)config->heads);
    return true;
}

static bool check_supported(const struct source *source, const struct config *config)
{
    const char *tokenizer = NULL;
    if (!read_text(source, "tokenizer", &tokenizer))
        return false;
    if (strcmp(tokenizer, "bytes") != 0)
        return report_failure("%s: tokenizer: '%s' is not supported, only 'bytes'", source->path, tokenizer);
    if (config->vocab_size != 256)
        return report_failure("%s: vocab_size: the tokenizer 'bytes' needs 256, not %lld", source->path,
                              (long long)config->vocab_size);
    if (find(source, "rope_scaling"))
        return report_failure("%s: rope_scaling: not supported", source->path);
    return true;
}

bool config_load(const char *dir, struct config *config)
{
    struct source source;
    char *path = path_in(dir, "config.json");
    if (!path || !source_open(path, &source)) {
        free(path);
        return false;
    }
    const bool done = read_sizes(&source, config) && read_real(&source, "rms_norm_eps", 0, 1, &config->rms_norm_eps) &&
                      read_real(&source, "rope_theta", 1, 1e30, &config->rope_theta) &&
                      read_activation(&source, &config->activation) &&
                      read_flag(&source, "tie_word_embeddings", &config->tied) &&
                      read_flag(&source, "attention_bias", &config->attention_bias) && check_heads(&source, config) &&
                      check_supported(&source, config);
    json_decref(source.root);
    free(path);
    return done;
}

bool config_activation(const char *path, mglu_activation *activation, bool *found)
{
    struct source source;
    *found = false;
    if (access(path, F_OK) != 0)
        return true;
    if (!source_open(path, &source))
        return false;
    *found = find(&source, "hidden_act") != NULL;
    const bool done = !*found || read_activation(&source, activation);
    json_decref(source.root);
    return done;
}
