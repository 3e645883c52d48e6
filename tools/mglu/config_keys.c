/* SPDX-License-Identifier: MIT */
#include "config_keys.h"

#include <stddef.h>
#include <string.h>

/** Keys that config.c reads. */
static const char *const read_keys[] = {
    "architectures",
    "attention_bias",
    "head_dim",
    "hidden_act",
    "hidden_activation",
    "hidden_size",
    "intermediate_size",
    "layer_types",
    "max_position_embeddings",
    "max_window_layers",
    "mlp_bias",
    "model_type",
    "num_attention_heads",
    "num_hidden_layers",
    "num_key_value_heads",
    "num_masks",
    "num_masks_per_tok",
    "rms_norm_eps",
    "rope_parameters",
    "rope_scaling",
    "rope_theta",
    "sliding_window",
    "tie_word_embeddings",
    "tokenizer",
    "use_sliding_window",
    "vocab_size",
    NULL,
};

/** Keys about training, storage, the text that is generated or the program that wrote the file. */
static const char *const harmless_keys[] = {
    "_attn_implementation",
    "_attn_implementation_autoset",
    "_commit_hash",
    "_name_or_path",
    "attention_dropout",
    "attn_implementation",
    "begin_suppress_tokens",
    "bos_token_id",
    "decoder_start_token_id",
    "dtype",
    "embd_pdrop",
    "eos_token_id",
    "finetuning_task",
    "hidden_dropout",
    "id2label",
    "initializer_range",
    "label2id",
    "output_attentions",
    "output_hidden_states",
    "pad_token_id",
    "prefix",
    "pretraining_tp",
    "problem_type",
    "resid_pdrop",
    "return_dict",
    "sep_token_id",
    "task_specific_params",
    "tokenizer_class",
    "torch_dtype",
    "torchscript",
    "transformers_version",
    "use_bfloat16",
    "use_cache",
    NULL,
};

/** Keys that change the computation, and the value with which they do not, as JSON; null never does. */
static const struct {
    const char *key;
    const char *neutral;
} refused_keys[] = {
    {"add_cross_attention", "false"},
    {"alibi", "false"},
    {"attention_multiplier", NULL},
    {"attn_logit_softcapping", NULL},
    {"auto_map", NULL},
    {"chunk_size_feed_forward", "0"},
    {"clip_qkv", NULL},
    {"cross_attention_hidden_size", NULL},
    {"embedding_multiplier", "1"},
    {"final_logit_softcapping", NULL},
    {"is_encoder_decoder", "false"},
    {"logit_scale", "1"},
    {"logits_scaling", "1"},
    {"num_experts", "0"},
    {"num_experts_per_tok", "0"},
    {"num_local_experts", "0"},
    {"parallel_attn", "false"},
    {"partial_rotary_factor", "1"},
    {"pruned_heads", "{}"},
    {"qk_layernorm", "false"},
    {"quantization_config", NULL},
    {"query_pre_attn_scalar", NULL},
    {"residual_multiplier", "1"},
    {"text_config", NULL},
    {"tie_encoder_decoder", "false"},
    {"use_parallel_residual", "false"},
    {"use_qk_norm", "false"},
    {NULL, NULL},
};

static bool is_in(const char *const *list, const char *key)
{
    for (; *list; list++)
        if (strcmp(*list, key) == 0)
            return true;
    return false;
}

/** Whether a value is `neutral`; 1 and 1.0 are the same number. */
static bool is_neutral(const struct mglu_json *value, const char *neutral)
{
    struct mglu_json wanted;
    double number, other;
    if (value->token == MGLU_JSON_NULL)
        return true;
    if (!neutral)
        return false;
    mglu_json_begin(&wanted, neutral, strlen(neutral));
    if (mglu_json_next(&wanted) != value->token)
        return false;
    if (value->token == MGLU_JSON_NUMBER)
        return mglu_json_double(value, &number) && mglu_json_double(&wanted, &other) && number == other;
    if (value->token != MGLU_JSON_OBJECT)
        return true;
    struct mglu_json inside = *value;
    return mglu_json_next(&inside) == MGLU_JSON_OBJECT_END;
}

/** Whether the key is in refused_keys; `neutral` is then the value that is accepted. */
static bool is_refused(const char *key, const char **neutral)
{
    for (size_t i = 0; refused_keys[i].key; i++)
        if (strcmp(refused_keys[i].key, key) == 0) {
            *neutral = refused_keys[i].neutral;
            return true;
        }
    return false;
}

static bool check_key(const struct config_object *object, const char *key, const struct mglu_json *value, void *context)
{
    const bool *ignore_unknown = context;
    const char *neutral = NULL;
    if (is_in(read_keys, key) || is_in(harmless_keys, key))
        return true;
    if (is_refused(key, &neutral))
        return is_neutral(value, neutral) ||
               config_failure(object, key, "changes the computation, and is not implemented; expected %s%sno such key",
                              neutral ? neutral : "", neutral ? " or " : "");
    return *ignore_unknown || value->token == MGLU_JSON_NULL ||
           config_failure(object, key,
                          "unknown key, which may change the computation; --ignore-unknown-keys computes without it");
}

bool config_check_keys(const struct config_object *object, bool ignore_unknown)
{
    return config_each(object, check_key, &ignore_unknown);
}
