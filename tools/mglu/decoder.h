/* SPDX-License-Identifier: MIT */
#ifndef MGLU_TOOLS_DECODER_H
#define MGLU_TOOLS_DECODER_H

/**
 * @file
 * A Llama-style decoder whose feed-forward layers are this library's. Functions that fail have reported why.
 */

#include "config.h"
#include "tools/common/compute.h"

#include <mglu/io.h>

/** A linear layer: weight [outputs][inputs], bias NULL when there is none. */
struct linear {
    float *weight;
    float *bias;
};

struct decoder_layer {
    float *input_norm;
    float *post_norm;
    struct linear q, k, v, o;
    float *keys;    /**< cache, [capacity][kv_heads][head_dim] */
    float *values;  /**< the same */
    int64_t window; /**< of the attention, 0: none */
    struct ffn ffn;
};

/** Memory for one call, [capacity] rows each. */
struct decoder_scratch {
    float *hidden;    /**< [hidden_size], the residual stream */
    float *normed;    /**< [hidden_size] */
    float *queries;   /**< [heads][head_dim] */
    float *attention; /**< [heads][head_dim] */
    float *scores;    /**< one head's, [capacity] */
};

struct decoder {
    struct config config;
    struct compute *compute;
    mglu_file *file; /**< where its weights are used in place, else NULL */
    uint32_t file_flags;
    int64_t capacity; /**< positions that fit */
    int64_t position; /**< of the next token */
    float *embedding; /**< [vocab_size][hidden_size] */
    float *norm;
    float *head;            /**< [vocab_size][hidden_size], NULL when it is the embedding */
    float *cosines, *sines; /**< [capacity][head_dim / 2] */
    struct decoder_layer *layers;
    struct decoder_scratch scratch;
};

/**
 * Loads the model in DIR, in one file or in shards, for sequences of up to `capacity` tokens, at most the config's
 * max_positions. `file_flags` are for mglu_file_open(); with MGLU_FILE_IGNORE_UNREAD, tensors that the decoder would
 * not read are ignored, else refused.
 */
bool decoder_open(struct decoder *decoder, const char *dir, const struct config *config, struct compute *compute,
                  int64_t capacity, uint32_t file_flags);

/** Whether the decoder reads every tensor of a file; if not, it has reported the first one that it does not. */
bool decoder_reads_all(const mglu_file *file, const struct config *config);
void decoder_close(struct decoder *decoder);

/** Starts a new sequence. */
void decoder_reset(struct decoder *decoder);

/**
 * Feeds the next tokens, at least 1 and within the capacity, and computes the logits [rows][vocab_size] that follow
 * the last `rows` of them.
 */
bool decoder_feed(struct decoder *decoder, const uint8_t *tokens, int64_t count, int64_t rows, float *logits);

#endif
