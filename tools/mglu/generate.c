/* SPDX-License-Identifier: MIT */
#include "commands.h"
#include "decoder.h"
#include "model_options.h"
#include "tools/common/arguments.h"
#include "tools/common/report.h"
#include "vector.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct options {
    char *dir;
    const char *prompt;
    int64_t count; /**< tokens to add, -1: not given */
    bool stats;
    struct model_options model;
};

static error_t parse(int key, char *argument, struct argp_state *state)
{
    struct options *options = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        model_arguments_begin(state, &options->model);
        return 0;
    case 'p':
        options->prompt = argument;
        return 0;
    case 'n':
        options->count = arguments_number(state, "-n", argument, 0, MGLU_MAX_BATCH);
        return 0;
    case 's':
        options->stats = true;
        return 0;
    case ARGP_KEY_ARG:
        arguments_operand(state, argument, (char **const[]){&options->dir}, 1);
        return 0;
    case ARGP_KEY_END:
        arguments_need(state, options->dir, "DIR");
        arguments_need(state, options->prompt, "--prompt");
        arguments_need(state, options->count < 0 ? NULL : options, "-n");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/** Writes bytes, without delay to a terminal. False when stdout can't be written; that is reported at exit. */
static bool put(const void *bytes, size_t count, bool is_terminal)
{
    return fwrite(bytes, 1, count, stdout) == count && (!is_terminal || fflush(stdout) == 0);
}

/** Feeds `count` tokens and selects the next one: the most likely, the lowest id on a tie. */
static bool next_token(struct decoder *decoder, const uint8_t *tokens, int64_t count, float *logits, uint8_t *next)
{
    const int64_t vocabulary = decoder->config.vocab_size;
    if (!decoder_feed(decoder, tokens, count, 1, logits))
        return false;
    for (int64_t i = 0; i < vocabulary; i++)
        if (!isfinite(logits[i]))
            return report_failure("the model's logits are not finite");
    *next = (uint8_t)vector_largest(logits, vocabulary);
    return true;
}

static bool write_continuation(struct decoder *decoder, const struct options *options, bool is_terminal)
{
    const int64_t prompt = (int64_t)strlen(options->prompt);
    float *logits = report_allocate((size_t)decoder->config.vocab_size, sizeof *logits);
    uint8_t token = 0;
    bool done = logits != NULL;
    for (int64_t i = 0; done && i < options->count; i++) {
        const uint8_t *input = i ? &token : (const uint8_t *)options->prompt;
        done = next_token(decoder, input, i ? 1 : prompt, logits, &token) && put(&token, 1, is_terminal);
    }
    free(logits);
    return done;
}

static bool write_text(struct decoder *decoder, const struct options *options, const struct compute *compute)
{
    const bool is_terminal = isatty(STDOUT_FILENO);
    const double begin = compute_seconds();
    if (!put(options->prompt, strlen(options->prompt), is_terminal) ||
        !write_continuation(decoder, options, is_terminal) || (is_terminal && putchar('\n') == EOF))
        return false;
    const double seconds = compute_seconds() - begin;
    char device[512];
    compute_describe(compute, device, sizeof device);
    if (options->stats && fflush(stdout) == 0)
        fprintf(stderr, "%lld tokens, %.1f tokens/s, %s\n", (long long)options->count, (double)options->count / seconds,
                device);
    return true;
}

static bool check_length(const struct options *options, const struct config *config)
{
    const int64_t prompt = (int64_t)strlen(options->prompt), total = prompt + options->count;
    if (!prompt)
        return report_failure("--prompt: empty, there is nothing to continue");
    if (total > config->max_positions)
        return report_failure("prompt and continuation: %lld tokens, above max_position_embeddings %lld",
                              (long long)total, (long long)config->max_positions);
    return true;
}

static bool generate(const struct options *options)
{
    struct config config;
    struct compute compute;
    struct decoder decoder;
    if (!config_load(options->dir, options->model.ignore_unknown_keys, &config) || !check_length(options, &config) ||
        !compute_open(&compute, &options->model.compute))
        return false;
    const int64_t capacity = (int64_t)strlen(options->prompt) + options->count;
    bool done = decoder_open(&decoder, options->dir, &config, &compute, capacity, options->model.file_flags);
    if (done) {
        done = write_text(&decoder, options, &compute);
        decoder_close(&decoder);
    }
    compute_close(&compute);
    return done;
}

int command_generate(int argc, char **argv)
{
    static const struct argp_option list[] = {
        {"prompt", 'p', "TEXT", 0, "Text to continue", 0},
        {NULL, 'n', "N", 0, "Tokens to add", 0},
        {"stats", 's', NULL, 0, "Print the speed and the device to stderr at the end", 0},
        {0},
    };
    static const struct argp argp = {
        .options = list,
        .parser = parse,
        .children = model_arguments,
        .args_doc = "DIR",
        .doc = "Prints a text and its most likely continuation by the language model in DIR (config.json, "
               "model.safetensors or shards).",
    };
    struct options options = {.count = -1, .model = {.compute = {.own_pool = true}}};
    if (!arguments_parse(&argp, argc, argv, 0, &options))
        return EXIT_FAILED;
    return generate(&options) ? EXIT_SUCCESS : EXIT_FAILED;
}
