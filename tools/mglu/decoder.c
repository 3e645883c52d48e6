/* SPDX-License-Identifier: MIT */
#include "decoder.h"

#include "vector.h"

#include <math.h>
#include <string.h>

/** Rotary embedding of each head of one token: element i pairs with i + half, as transformers' rotate_half. */
static void rotate(const struct decoder *decoder, float *heads, int64_t count, int64_t position)
{
    const int64_t half = decoder->config.head_dim / 2;
    const float *cosines = decoder->cosines + position * half;
    const float *sines = decoder->sines + position * half;
    for (int64_t head = 0; head < count; head++) {
        float *first = heads + head * 2 * half;
        float *second = first + half;
        for (int64_t i = 0; i < half; i++) {
            const float a = first[i], b = second[i];
            first[i] = a * cosines[i] - b * sines[i];
            second[i] = b * cosines[i] + a * sines[i];
        }
    }
}

/** Attention of one query head to `count` positions of the cache, from that of `keys` and `values` on. */
static void attend_head(struct decoder *decoder, const float *query, const float *keys, const float *values,
                        int64_t count, float *out)
{
    const int64_t size = decoder->config.head_dim;
    const int64_t stride = decoder->config.kv_heads * size;
    const float scale = (float)(1 / sqrt((double)size));
    float *scores = decoder->scratch.scores;
    for (int64_t position = 0; position < count; position++)
        scores[position] = scale * vector_dot(query, keys + position * stride, size);
    vector_softmax(scores, count);
    memset(out, 0, (size_t)size * sizeof *out);
    for (int64_t position = 0; position < count; position++)
        for (int64_t i = 0; i < size; i++)
            out[i] += scores[position] * values[position * stride + i];
}

static void attend(struct decoder *decoder, struct decoder_layer *layer, int64_t rows)
{
    const struct config *config = &decoder->config;
    const int64_t size = config->head_dim, group = config->heads / config->kv_heads;
    for (int64_t row = 0; row < rows; row++) {
        const int64_t position = decoder->position + row;
        const int64_t first = layer->window > 0 && position >= layer->window ? position - layer->window + 1 : 0;
        float *queries = decoder->scratch.queries + row * config->heads * size;
        float *out = decoder->scratch.attention + row * config->heads * size;
        rotate(decoder, queries, config->heads, position);
        rotate(decoder, layer->keys + position * config->kv_heads * size, config->kv_heads, position);
        for (int64_t head = 0; head < config->heads; head++) {
            const int64_t at = first * config->kv_heads * size + head / group * size;
            attend_head(decoder, queries + head * size, layer->keys + at, layer->values + at, position + 1 - first,
                        out + head * size);
        }
    }
}

/** hidden += o(attention(norm(hidden))). */
static void attention_block(struct decoder *decoder, struct decoder_layer *layer, int64_t rows)
{
    const struct config *config = &decoder->config;
    struct decoder_scratch *scratch = &decoder->scratch;
    const int64_t h = config->hidden_size;
    const int64_t wide = config->heads * config->head_dim, narrow = config->kv_heads * config->head_dim;
    const int64_t offset = decoder->position * narrow;
    vector_rms_norm(scratch->hidden, rows, h, layer->input_norm, config->rms_norm_eps, scratch->normed);
    vector_linear(scratch->normed, rows, h, layer->q.weight, layer->q.bias, wide, scratch->queries);
    vector_linear(scratch->normed, rows, h, layer->k.weight, layer->k.bias, narrow, layer->keys + offset);
    vector_linear(scratch->normed, rows, h, layer->v.weight, layer->v.bias, narrow, layer->values + offset);
    attend(decoder, layer, rows);
    vector_linear(scratch->attention, rows, wide, layer->o.weight, layer->o.bias, h, scratch->normed);
    for (int64_t i = 0; i < rows * h; i++)
        scratch->hidden[i] += scratch->normed[i];
}

/** hidden += ffn(norm(hidden)): the library adds the residual, in place. */
static bool ffn_block(struct decoder *decoder, struct decoder_layer *layer, int64_t rows)
{
    const struct config *config = &decoder->config;
    struct decoder_scratch *scratch = &decoder->scratch;
    vector_rms_norm(scratch->hidden, rows, config->hidden_size, layer->post_norm, config->rms_norm_eps,
                    scratch->normed);
    return ffn_forward(&layer->ffn, decoder->compute->queue, rows, scratch->normed, scratch->hidden, scratch->hidden);
}

bool decoder_feed(struct decoder *decoder, const uint8_t *tokens, int64_t count, int64_t rows, float *logits)
{
    const struct config *config = &decoder->config;
    struct decoder_scratch *scratch = &decoder->scratch;
    const int64_t h = config->hidden_size;
    for (int64_t i = 0; i < count; i++)
        memcpy(scratch->hidden + i * h, decoder->embedding + tokens[i] * h, (size_t)h * sizeof *scratch->hidden);
    for (int64_t i = 0; i < config->layers; i++) {
        attention_block(decoder, &decoder->layers[i], count);
        if (!ffn_block(decoder, &decoder->layers[i], count))
            return false;
    }
    decoder->position += count;
    vector_rms_norm(scratch->hidden + (count - rows) * h, rows, h, decoder->norm, config->rms_norm_eps,
                    scratch->normed);
    vector_linear(scratch->normed, rows, h, decoder->head ? decoder->head : decoder->embedding, NULL,
                  config->vocab_size, logits);
    return true;
}

void decoder_reset(struct decoder *decoder)
{
    decoder->position = 0;
}
