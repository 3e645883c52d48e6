/* SPDX-License-Identifier: MIT */
#include "config.h"
#include "config_object.h"

#include <string.h>
#include <unistd.h>

/** The names of transformers. */
static const struct {
    const char *name;
    mglu_activation activation;
} activation_names[] = {
    {"silu", MGLU_ACTIVATION_SILU},
    {"swish", MGLU_ACTIVATION_SILU},
    {"gelu", MGLU_ACTIVATION_GELU_ERF},
    {"gelu_python", MGLU_ACTIVATION_GELU_ERF},
    {"gelu_new", MGLU_ACTIVATION_GELU_TANH},
    {"gelu_pytorch_tanh", MGLU_ACTIVATION_GELU_TANH},
    {"gelu_python_tanh", MGLU_ACTIVATION_GELU_TANH},
    {"gelu_fast", MGLU_ACTIVATION_GELU_TANH},
    {"relu", MGLU_ACTIVATION_RELU},
    {"sigmoid", MGLU_ACTIVATION_SIGMOID},
    {"identity", MGLU_ACTIVATION_IDENTITY},
    {"linear", MGLU_ACTIVATION_IDENTITY},
};

/** What transformers' models compute where the file names no activation. */
static const struct {
    const char *model_type;
    mglu_activation activation;
} model_defaults[] = {
    {"llama", MGLU_ACTIVATION_SILU},       {"mistral", MGLU_ACTIVATION_SILU},
    {"mixtral", MGLU_ACTIVATION_SILU},     {"qwen2", MGLU_ACTIVATION_SILU},
    {"qwen3", MGLU_ACTIVATION_SILU},       {"phi3", MGLU_ACTIVATION_SILU},
    {"gemma", MGLU_ACTIVATION_GELU_TANH},  {"gemma2", MGLU_ACTIVATION_GELU_TANH},
    {"gemma3", MGLU_ACTIVATION_GELU_TANH}, {"gemma3_text", MGLU_ACTIVATION_GELU_TANH},
};

enum {
    NAMES = sizeof activation_names / sizeof activation_names[0],
    DEFAULTS = sizeof model_defaults / sizeof model_defaults[0],
    NAME_SIZE = 64
};

static bool from_name(const struct config_object *object, const char *key, const char *name,
                      mglu_activation *activation)
{
    char known[512] = "";
    for (int i = 0; i < NAMES; i++) {
        if (strcmp(activation_names[i].name, name) == 0) {
            *activation = activation_names[i].activation;
            return true;
        }
        strcat(strcat(known, i ? ", " : ""), activation_names[i].name);
    }
    if (strcmp(name, "quick_gelu") == 0)
        return config_failure(object, key,
                              "'quick_gelu' is g * sigmoid(1.702 g), which the programs do not compute: in the "
                              "library it is MGLU_ACTIVATION_SILU with a silu_beta of 1.702");
    return config_failure(object, key, "unknown activation '%s'; expected one of %s", name, known);
}

/**
 * transformers reads hidden_act of the first Gemma models as what is written there in some versions, and as
 * gelu_pytorch_tanh, which they were trained with, in others.
 */
static bool check_gemma(const struct config_object *object, const char *model_type, mglu_activation activation)
{
    if (strcmp(model_type, "gemma") != 0 || activation != MGLU_ACTIVATION_GELU_ERF)
        return true;
    return config_failure(object, "hidden_act",
                          "'gelu' in a Gemma model means gelu_pytorch_tanh to some versions of transformers, and "
                          "gelu to others; write hidden_activation to say which");
}

bool config_read_activation(const struct config_object *object, mglu_activation *activation, bool *found)
{
    char name[NAME_SIZE], model_type[NAME_SIZE];
    const char *key = "hidden_activation";
    *found = true;
    if (!config_text(object, key, name, sizeof name) ||
        !config_text(object, "model_type", model_type, sizeof model_type))
        return false;
    if (*name)
        return from_name(object, key, name, activation);
    key = "hidden_act";
    if (!config_text(object, key, name, sizeof name))
        return false;
    if (*name)
        return from_name(object, key, name, activation) && check_gemma(object, model_type, *activation);
    for (int i = 0; i < DEFAULTS; i++)
        if (strcmp(model_defaults[i].model_type, model_type) == 0) {
            *activation = model_defaults[i].activation;
            return true;
        }
    *found = false;
    return true;
}

/** Models of text and images have the text's keys in an object of their own. */
static bool read_nested(const struct config_object *root, mglu_activation *activation, bool *found)
{
    struct config_object text;
    bool nested;
    if (!config_child(root, "text_config", &text, &nested))
        return false;
    return config_read_activation(nested ? &text : root, activation, found);
}

bool config_activation(const char *path, mglu_activation *activation, bool *found)
{
    struct config_file file;
    *found = false;
    if (access(path, F_OK) != 0)
        return true;
    if (!config_open(path, &file))
        return false;
    const bool done = read_nested(&file.root, activation, found);
    config_close(&file);
    return done;
}
