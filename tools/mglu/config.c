/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "config_keys.h"
#include "config_object.h"
#include "config_rope.h"
#include "files.h"
#include "tools/common/report.h"

#include <stdlib.h>
#include <string.h>

static const int64_t most_layers = 1 << 16;

/** Kinds of models, and what transformers takes for keys that their config.json lacks. */
static const struct architecture {
    const char *model_type;
    const char *classes[2];
    int64_t kv_heads; /**< 0: num_attention_heads */
    int64_t positions;
    int64_t window;    /**< 0: none */
    bool has_qkv_bias; /**< always, whatever attention_bias says */
    bool has_window_switch;
} architectures[] = {
    {"llama", {"LlamaForCausalLM", "MgluLlamaForCausalLM"}, 0, 2048, 0, false, false},
    {"mistral", {"MistralForCausalLM", NULL}, 8, 131072, 4096, false, false},
    {"qwen2", {"Qwen2ForCausalLM", NULL}, 32, 32768, 4096, true, true},
};

enum { ARCHITECTURES = sizeof architectures / sizeof architectures[0], NAME_SIZE = 128 };

static bool has_class(const struct architecture *architecture, const char *name)
{
    for (int i = 0; i < 2; i++)
        if (architecture->classes[i] && strcmp(architecture->classes[i], name) == 0)
            return true;
    return false;
}

/** The first of the list in "architectures"; "" when it is absent. */
static bool read_class(const struct config_object *root, char *name, size_t size)
{
    struct mglu_json value;
    *name = '\0';
    if (!config_find(root, "architectures", &value))
        return true;
    if (value.token != MGLU_JSON_ARRAY || mglu_json_next(&value) != MGLU_JSON_STRING || value.length >= size)
        return config_failure(root, "architectures", "not a list of names");
    mglu_json_decode(&value, name);
    if (mglu_json_next(&value) != MGLU_JSON_ARRAY_END)
        return config_failure(root, "architectures", "more than one");
    return true;
}

static bool report_architecture(const struct config_object *root, const char *class, const char *type)
{
    const bool by_type = !*class && *type;
    const char *key = by_type ? "model_type" : "architectures", *name = by_type ? type : class;
    char known[256] = "";
    for (int i = 0; i < ARCHITECTURES; i++)
        strcat(strcat(known, i ? ", " : ""), by_type ? architectures[i].model_type : architectures[i].classes[0]);
    if (!*name)
        return config_failure(root, key, "missing; expected one of %s", known);
    return config_failure(root, key, "'%s' is not implemented; expected one of %s", name, known);
}

static bool find_architecture(const struct config_object *root, const struct architecture **found)
{
    char name[NAME_SIZE], type[NAME_SIZE];
    if (!read_class(root, name, sizeof name) || !config_text(root, "model_type", type, sizeof type))
        return false;
    for (int i = 0; i < ARCHITECTURES; i++) {
        *found = &architectures[i];
        const bool is_class = has_class(*found, name), is_type = strcmp(type, (*found)->model_type) == 0;
        if ((is_class && (is_type || !*type)) || (is_type && !*name))
            return true;
        if (is_class)
            return config_failure(root, "model_type", "'%s', but architectures says '%s'", type, name);
    }
    return report_architecture(root, name, type);
}

/** null means num_attention_heads; transformers' default for an absent key is another. */
static bool read_kv_heads(const struct config_object *root, const struct architecture *architecture,
                          struct config *config)
{
    const char *key = "num_key_value_heads";
    const int64_t missing = architecture->kv_heads && !config_has(root, key) ? architecture->kv_heads : config->heads;
    return config_whole(root, key, 1, MGLU_MAX_SIZE, missing, &config->kv_heads);
}

static bool read_sizes(const struct config_object *root, const struct architecture *architecture, struct config *config)
{
    const int64_t most = MGLU_MAX_SIZE, no = CONFIG_REQUIRED;
    return config_whole(root, "hidden_size", 1, most, no, &config->hidden_size) &&
           config_whole(root, "intermediate_size", 1, most, no, &config->intermediate_size) &&
           config_whole(root, "num_hidden_layers", 1, most_layers, no, &config->layers) &&
           config_whole(root, "num_attention_heads", 1, most, no, &config->heads) &&
           read_kv_heads(root, architecture, config) &&
           config_whole(root, "head_dim", 2, most, config->hidden_size / config->heads, &config->head_dim) &&
           config_whole(root, "vocab_size", 1, most, no, &config->vocab_size) &&
           config_whole(root, "max_position_embeddings", 1, MGLU_MAX_BATCH, architecture->positions,
                        &config->max_positions) &&
           config_whole(root, "num_masks", 0, MGLU_MAX_MASKS, -1, &config->num_masks) &&
           config_whole(root, "num_masks_per_tok", 1, MGLU_MAX_MASKS, 0, &config->selected_masks);
}

/** Checks the relations between keys. */
static bool check_heads(const struct config_object *root, const struct config *config)
{
    struct mglu_json value;
    if (!config_find(root, "head_dim", &value) && config->hidden_size % config->heads != 0)
        return config_failure(root, "num_attention_heads", "%lld does not divide hidden_size %lld",
                              (long long)config->heads, (long long)config->hidden_size);
    if (config->heads % config->kv_heads != 0)
        return config_failure(root, "num_key_value_heads", "%lld does not divide num_attention_heads %lld",
                              (long long)config->kv_heads, (long long)config->heads);
    if (config->head_dim % 2 != 0)
        return config_failure(root, "head_dim", "%lld is odd, rotary attention needs pairs",
                              (long long)config->head_dim);
    if (config->head_dim > MGLU_MAX_SIZE / config->heads)
        return config_failure(root, "head_dim", "%lld with %lld heads is too large", (long long)config->head_dim,
                              (long long)config->heads);
    return true;
}

static bool check_tokenizer(const struct config_object *root, const struct config *config)
{
    char tokenizer[NAME_SIZE];
    if (!config_text(root, "tokenizer", tokenizer, sizeof tokenizer))
        return false;
    if (!*tokenizer)
        return config_failure(root, "tokenizer", "missing; expected 'bytes', the only one");
    if (strcmp(tokenizer, "bytes") != 0)
        return config_failure(root, "tokenizer", "'%s' is not supported, only 'bytes'", tokenizer);
    if (config->vocab_size != 256)
        return config_failure(root, "vocab_size", "the tokenizer 'bytes' needs 256, not %lld",
                              (long long)config->vocab_size);
    return true;
}

/** null means no window. */
static bool read_window(const struct config_object *root, const struct architecture *architecture,
                        struct config *config)
{
    bool used = true;
    const int64_t missing = config_has(root, "sliding_window") ? 0 : architecture->window;
    if (!config_whole(root, "sliding_window", 1, MGLU_MAX_BATCH, missing, &config->window) ||
        !config_whole(root, "max_window_layers", 0, most_layers, 28, &config->first_window_layer) ||
        !config_flag(root, "use_sliding_window", !architecture->has_window_switch, &used))
        return false;
    if (config->window && !architecture->window)
        return config_failure(root, "sliding_window", "%lld, but transformers' %s models have none",
                              (long long)config->window, architecture->model_type);
    if (!used)
        config->window = 0;
    if (!architecture->has_window_switch)
        config->first_window_layer = 0;
    return true;
}

/** The list of transformers since version 4.52 must say what the other keys say. */
static bool check_layer_types(const struct config_object *root, const struct config *config)
{
    struct mglu_json value;
    int64_t count = 0;
    if (!config_find(root, "layer_types", &value))
        return true;
    if (value.token != MGLU_JSON_ARRAY)
        return config_failure(root, "layer_types", "not a list");
    for (; mglu_json_next(&value) == MGLU_JSON_STRING; count++) {
        const char *expected = config_window(config, count) ? "sliding_attention" : "full_attention";
        if (!mglu_json_equals(&value, expected))
            return config_failure(root, "layer_types", "layer %lld is '%.*s'; expected '%s', as the other keys say",
                                  (long long)count, (int)value.length, value.first, expected);
    }
    if (value.token != MGLU_JSON_ARRAY_END || count != config->layers)
        return config_failure(root, "layer_types", "expected num_hidden_layers = %lld names",
                              (long long)config->layers);
    return true;
}

static bool read_biases(const struct config_object *root, const struct architecture *architecture,
                        struct config *config)
{
    bool all;
    if (!config_flag(root, "attention_bias", false, &all) || !config_flag(root, "mlp_bias", false, &config->mlp_bias))
        return false;
    config->has_mlp_bias = config_has(root, "mlp_bias");
    config->qkv_bias = all || architecture->has_qkv_bias;
    config->o_bias = all && !architecture->has_qkv_bias;
    return true;
}

/** All architectures above have the same default. */
static bool read_activation(const struct config_object *root, struct config *config)
{
    bool found;
    if (!config_read_activation(root, &config->activation, &found))
        return false;
    if (!found)
        config->activation = MGLU_ACTIVATION_SILU;
    return true;
}

static bool read(const struct config_object *root, bool ignore_unknown_keys, struct config *config)
{
    const struct architecture *architecture;
    return find_architecture(root, &architecture) && config_check_keys(root, ignore_unknown_keys) &&
           read_sizes(root, architecture, config) &&
           config_real(root, "rms_norm_eps", 0, 1, 1e-6, &config->rms_norm_eps) &&
           config_read_rope(root, &config->rope) && read_activation(root, config) &&
           config_flag(root, "tie_word_embeddings", false, &config->tied) && read_biases(root, architecture, config) &&
           check_heads(root, config) && read_window(root, architecture, config) && check_layer_types(root, config) &&
           check_tokenizer(root, config);
}

bool config_load(const char *dir, bool ignore_unknown_keys, struct config *config)
{
    struct config_file file;
    char *path = path_in(dir, "config.json");
    bool done = path && config_open(path, &file);
    if (done) {
        done = read(&file.root, ignore_unknown_keys, config);
        config_close(&file);
    }
    free(path);
    return done;
}

int64_t config_window(const struct config *config, int64_t layer)
{
    return layer >= config->first_window_layer ? config->window : 0;
}
