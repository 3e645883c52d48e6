/* SPDX-License-Identifier: MIT */
#ifndef MGLU_TOOLS_CONFIG_H
#define MGLU_TOOLS_CONFIG_H

/**
 * @file
 * A model's config.json, with the key names of transformers. Functions that fail have reported why.
 */

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
    int64_t num_masks; /**< -1: not given */
    double rms_norm_eps;
    double rope_theta;
    mglu_activation activation;
    bool tied;           /**< the output layer is the embedding */
    bool attention_bias; /**< all four projections of the attention have one */
};

/** Reads and checks DIR/config.json for a decoder. */
bool config_load(const char *dir, struct config *config);

/** Reads only hidden_act of a config.json. `*found` is false when there is no such file or key. */
bool config_activation(const char *path, mglu_activation *activation, bool *found);

#endif
