/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "common/json/json.h"
#include "files.h"
#include "tools/common/report.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/** Larger than any config.json, so that a wrong file is not read completely. */
enum { CONFIG_LIMIT = 1 << 20 };

static const int64_t most_layers = 1 << 16;
static const int64_t not_optional = INT64_MIN;

/** The text of a file whose syntax has been checked, and its name for error messages. */
struct source {
    const char *path;
    char *text;
    size_t size;
};

/** All keys that are read. */
static const char *const known_keys[] = {
    "hidden_size",    "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads",
    "head_dim",       "vocab_size",        "num_masks",         "tokenizer",           "max_position_embeddings",
    "rms_norm_eps",   "rope_theta",        "rope_scaling",      "hidden_act",          "tie_word_embeddings",
    "attention_bias",
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

static bool check_syntax(const struct source *source)
{
    struct mglu_json json;
    size_t line, column;
    mglu_json_begin(&json, source->text, source->size);
    const bool object = mglu_json_next(&json) == MGLU_JSON_OBJECT;
    while (mglu_json_next(&json) > MGLU_JSON_END)
        continue;
    mglu_json_place(&json, &line, &column);
    if (json.fault)
        return report_failure("%s: line %zu, column %zu: %s", source->path, line, column, json.fault);
    return object || report_failure("%s: not a JSON object", source->path);
}

/** Finds a key: its value is the last token of `value`. Returns how often the key is there. */
static int find_all(const struct source *source, const char *key, struct mglu_json *value)
{
    int count = 0;
    struct mglu_json json;
    mglu_json_begin(&json, source->text, source->size);
    mglu_json_next(&json);
    while (mglu_json_next(&json) == MGLU_JSON_KEY) {
        const bool wanted = mglu_json_equals(&json, key);
        mglu_json_next(&json);
        if (wanted)
            *value = json;
        count += wanted;
        mglu_json_skip(&json);
    }
    return count;
}

/** False for an absent key, and for null, which transformers writes for some. */
static bool find(const struct source *source, const char *key, struct mglu_json *value)
{
    return find_all(source, key, value) && value->token != MGLU_JSON_NULL;
}

static bool check_keys(const struct source *source)
{
    struct mglu_json value;
    for (size_t i = 0; i < sizeof known_keys / sizeof known_keys[0]; i++)
        if (find_all(source, known_keys[i], &value) > 1)
            return report_failure("%s: %s: appears twice", source->path, known_keys[i]);
    return true;
}

static bool source_open(const char *path, struct source *source)
{
    source->path = path;
    if (!text_load_regular(path, CONFIG_LIMIT, &source->text, &source->size))
        return false;
    if (check_syntax(source) && check_keys(source))
        return true;
    free(source->text);
    return false;
}

/** Characters of a token to show in an error, for "%.*s". */
static int shown(const struct mglu_json *value)
{
    return value->length < 60 ? (int)value->length : 60;
}

/** A whole number; `missing` is its value when absent; with not_optional it must be present. */
static bool read_whole(const struct source *source, const char *key, int64_t lowest, int64_t highest, int64_t missing,
                       int64_t *value)
{
    struct mglu_json found;
    uint64_t number;
    *value = missing;
    if (!find(source, key, &found))
        return missing != not_optional || report_failure("%s: %s: missing", source->path, key);
    if (!mglu_json_is_integer(&found))
        return report_failure("%s: %s: not a whole number", source->path, key);
    if (!mglu_json_uint64(&found, &number) || number < (uint64_t)lowest || number > (uint64_t)highest)
        return report_failure("%s: %s: %.*s is not in %lld..%lld", source->path, key, shown(&found), found.first,
                              (long long)lowest, (long long)highest);
    *value = (int64_t)number;
    return true;
}

static bool read_real(const struct source *source, const char *key, double lowest, double highest, double *value)
{
    struct mglu_json found;
    if (!find(source, key, &found))
        return report_failure("%s: %s: missing", source->path, key);
    if (found.token != MGLU_JSON_NUMBER)
        return report_failure("%s: %s: not a number", source->path, key);
    if (!mglu_json_double(&found, value) || !(*value >= lowest && *value <= highest))
        return report_failure("%s: %s: %.*s is not in %g..%g", source->path, key, shown(&found), found.first, lowest,
                              highest);
    return true;
}

/** False when absent, as in transformers' LlamaConfig. */
static bool read_flag(const struct source *source, const char *key, bool *value)
{
    struct mglu_json found;
    *value = false;
    if (!find(source, key, &found))
        return true;
    *value = found.token == MGLU_JSON_TRUE;
    return *value || found.token == MGLU_JSON_FALSE ||
           report_failure("%s: %s: neither true nor false", source->path, key);
}

static bool read_text(const struct source *source, const char *key, struct mglu_json *value)
{
    if (!find(source, key, value))
        return report_failure("%s: %s: missing", source->path, key);
    return value->token == MGLU_JSON_STRING || report_failure("%s: %s: not a text", source->path, key);
}

static bool read_activation(const struct source *source, mglu_activation *activation)
{
    enum { COUNT = sizeof activation_names / sizeof activation_names[0] };
    struct mglu_json name;
    if (!read_text(source, "hidden_act", &name))
        return false;
    char known[256] = "";
    for (int i = 0; i < COUNT; i++) {
        if (mglu_json_equals(&name, activation_names[i].name)) {
            *activation = activation_names[i].activation;
            return true;
        }
        strcat(strcat(known, i ? ", " : ""), activation_names[i].name);
    }
    return report_failure("%s: hidden_act: unknown activation '%.*s'; known are %s", source->path, shown(&name),
                          name.first, known);
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
    struct mglu_json value;
    if (!find(source, "head_dim", &value) && config->hidden_size % config->heads != 0)
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
    struct mglu_json tokenizer, value;
    if (!read_text(source, "tokenizer", &tokenizer))
        return false;
    if (!mglu_json_equals(&tokenizer, "bytes"))
        return report_failure("%s: tokenizer: '%.*s' is not supported, only 'bytes'", source->path, shown(&tokenizer),
                              tokenizer.first);
    if (config->vocab_size != 256)
        return report_failure("%s: vocab_size: the tokenizer 'bytes' needs 256, not %lld", source->path,
                              (long long)config->vocab_size);
    if (find(source, "rope_scaling", &value))
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
    free(source.text);
    free(path);
    return done;
}

bool config_activation(const char *path, mglu_activation *activation, bool *found)
{
    struct source source;
    struct mglu_json value;
    *found = false;
    if (access(path, F_OK) != 0)
        return true;
    if (!source_open(path, &source))
        return false;
    *found = find(&source, "hidden_act", &value);
    const bool done = !*found || read_activation(&source, activation);
    free(source.text);
    return done;
}
