/* SPDX-License-Identifier: MIT */
#ifndef MGLU_TOOLS_CONFIG_H
#define MGLU_TOOLS_CONFIG_H

/**
 * @file
 * A model's config.json, with the key names of transformers. Functions that fail have reported why.
 */

#include "config_object.h"
#include "rope.h"

#include <mglu/mglu.h>

#include <stdbool.h>

struct config {
    int64_t hidden_size;
    int64_t intermediate_size;
    int64_t layers;
    int64_t heads;
    int64_t kv_heads;
    int64_t head_dim;
    int64_t vocab_size;
    int64_t max_positions;
    int64_t num_masks;      /**< -1: not given */
    int64_t selected_masks; /**< of each token, by a router; 0: not given */
    int64_t window;         /**< how many positions a token attends to, itself included; 0: all */
    int64_t first_window_layer;
    double rms_norm_eps;
    struct rope rope;
    mglu_activation activation;
    bool tied;         /**< the output layer is the embedding */
    bool qkv_bias;     /**< of queries, keys and values */
    bool o_bias;       /**< of the attention's output */
    bool has_mlp_bias; /**< mlp_bias is given */
    bool mlp_bias;
};

/** Reads and checks DIR/config.json for a decoder. Unknown keys are refused or ignored. */
bool config_load(const char *dir, bool ignore_unknown_keys, struct config *config);

/** The window of a layer; 0: none. */
int64_t config_window(const struct config *config, int64_t layer);

/** The activation that an object names, or the one of its model_type. `*found` is false when there is neither. */
bool config_read_activation(const struct config_object *object, mglu_activation *activation, bool *found);

/** The activation of a config.json and nothing else. `*found` is false when there is no such file or activation. */
bool config_activation(const char *path, mglu_activation *activation, bool *found);

#endif
