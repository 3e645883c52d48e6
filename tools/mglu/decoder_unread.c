/* SPDX-License-Identifier: MIT */
#include "decoder.h"

#include "files.h"
#include "tools/common/report.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/**
 * The text after "model.layers.N." with N below `layers`, or NULL. A number has no leading zeros.
 */
static const char *in_layer(const char *name, int64_t layers)
{
    static const char prefix[] = "model.layers.";
    char again[32];
    char *end;
    if (strncmp(name, prefix, strlen(prefix)) != 0)
        return NULL;
    const char *digits = name + strlen(prefix);
    const long long number = strtoll(digits, &end, 10);
    const int length = snprintf(again, sizeof again, "%lld.", number);
    return number >= 0 && number < layers && strncmp(digits, again, (size_t)length) == 0 ? digits + length : NULL;
}

static bool is_one_of(const char *name, const char *const *list, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(list[i], name) == 0)
            return true;
    return false;
}

/** inv_freq is a table that old versions of transformers stored; config.json says the same. */
static bool is_read_in_layer(const char *name, const struct config *config)
{
    static const char *const always[] = {"input_layernorm.weight",       "post_attention_layernorm.weight",
                                         "self_attn.q_proj.weight",      "self_attn.k_proj.weight",
                                         "self_attn.v_proj.weight",      "self_attn.o_proj.weight",
                                         "self_attn.rotary_emb.inv_freq"};
    static const char *const biases[] = {"self_attn.q_proj.bias", "self_attn.k_proj.bias", "self_attn.v_proj.bias"};
    if (is_one_of(name, always, sizeof always / sizeof always[0]))
        return true;
    if (config->qkv_bias && is_one_of(name, biases, sizeof biases / sizeof biases[0]))
        return true;
    if (config->o_bias && strcmp(name, "self_attn.o_proj.bias") == 0)
        return true;
    /* mglu_file_layer() answers for what is in a feed-forward layer. */
    return strncmp(name, "mlp.", 4) == 0;
}

static bool is_read(const char *name, const struct config *config)
{
    static const char *const always[] = {"model.embed_tokens.weight", "model.norm.weight", "lm_head.weight",
                                         "model.rotary_emb.inv_freq"};
    const char *inside = in_layer(name, config->layers);
    return inside ? is_read_in_layer(inside, config) : is_one_of(name, always, sizeof always / sizeof always[0]);
}

/** Beside tied embeddings, an output layer must be a copy of them. */
static bool check_head(const mglu_file *file, const struct config *config)
{
    const mglu_file_tensor *head = mglu_file_find(file, "lm_head.weight");
    const mglu_file_tensor *embedding = mglu_file_find(file, "model.embed_tokens.weight");
    if (!config->tied || !head)
        return true;
    if (head->dtype == embedding->dtype && head->bytes == embedding->bytes &&
        memcmp(head->data, embedding->data, head->bytes) == 0)
        return true;
    return report_failure("%s: tensor 'lm_head.weight': differs from model.embed_tokens.weight, which is computed with "
                          "in its place, since tie_word_embeddings in config.json is true; --ignore-unread "
                          "computes so",
                          mglu_file_path(file));
}

bool decoder_reads_all(const mglu_file *file, const struct config *config)
{
    for (size_t i = 0; i < mglu_file_tensor_count(file); i++) {
        const char *name = mglu_file_tensor_at(file, i)->name;
        if (!is_read(name, config))
            return report_failure("%s: tensor '%s': not read, so the result would not be the model's; "
                                  "--ignore-unread computes without it",
                                  mglu_file_path(file), name);
    }
    return check_head(file, config);
}
