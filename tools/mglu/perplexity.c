/* SPDX-License-Identifier: MIT */
#include "commands.h"
#include "decoder.h"
#include "files.h"
#include "model_options.h"
#include "tools/common/arguments.h"
#include "tools/common/report.h"
#include "vector.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/** Bytes of a text: far more than is measured in a day. */
enum { TEXT_LIMIT = 1 << 30 };

struct options {
    char *dir;
    const char *text;
    int64_t window; /**< 0: the model's maximum */
    bool json;
    struct model_options model;
};

/** The measurements. */
struct result {
    double nll; /**< sum over all predicted bytes, in nats */
    double seconds;
    int64_t predicted;
};

static error_t parse(int key, char *argument, struct argp_state *state)
{
    struct options *options = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        model_arguments_begin(state, &options->model);
        return 0;
    case 't':
        options->text = argument;
        return 0;
    case 'w':
        options->window = arguments_number(state, "--window", argument, 1, MGLU_MAX_BATCH);
        return 0;
    case 'j':
        options->json = true;
        return 0;
    case ARGP_KEY_ARG:
        arguments_operand(state, argument, (char **const[]){&options->dir}, 1);
        return 0;
    case ARGP_KEY_END:
        arguments_need(state, options->dir, "DIR");
        arguments_need(state, options->text, "--text");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/** Feeds text[start], text[start + 1], ... to an empty cache; adds up the negative log-likelihoods of the next bytes.
 */
static bool measure_window(struct decoder *decoder, const uint8_t *text, int64_t count, float *logits, double *nll)
{
    const int64_t vocabulary = decoder->config.vocab_size;
    decoder_reset(decoder);
    if (!decoder_feed(decoder, text, count, count, logits))
        return false;
    for (int64_t i = 0; i < count; i++)
        *nll += vector_negative_log_likelihood(logits + i * vocabulary, vocabulary, text[i + 1]);
    return true;
}

static bool measure(struct decoder *decoder, const uint8_t *text, struct result *result)
{
    const int64_t window = decoder->capacity, total = result->predicted;
    float *logits = report_allocate((size_t)window, (size_t)decoder->config.vocab_size * sizeof *logits);
    bool done = logits != NULL;
    const double begin = compute_seconds();
    for (int64_t start = 0; done && start < total; start += window) {
        report_progress("perplexity", (size_t)start, (size_t)total);
        done = measure_window(decoder, text + start, total - start < window ? total - start : window, logits,
                              &result->nll);
    }
    result->seconds = compute_seconds() - begin;
    report_progress_end();
    free(logits);
    return done && (isfinite(result->nll) || report_failure("the model's logits are not finite"));
}

static bool print_json(const struct result *result, double nll, const struct compute *compute)
{
    json_t *root =
        json_pack("{s:f, s:f, s:I, s:f, s:s, s:s}", "nll_nats_per_byte", nll, "perplexity", exp(nll), "predicted_bytes",
                  (json_int_t)result->predicted, "tokens_per_second", (double)result->predicted / result->seconds,
                  "backend", compute->info.backend, "device", compute->info.name);
    const bool done = root && json_dumpf(root, stdout, JSON_INDENT(1)) == 0 && putchar('\n') != EOF;
    json_decref(root);
    return done || report_stdout_failed() || report_failure("JSON: out of memory");
}

static bool print_result(const struct result *result, const struct compute *compute, bool json)
{
    const double nll = result->nll / (double)result->predicted;
    if (json)
        return print_json(result, nll, compute);
    char device[512];
    compute_describe(compute, device, sizeof device);
    printf("nll_nats_per_byte  %.7f\nperplexity         %.6f\ntokens             %lld\ntokens_per_second  %.1f\n"
           "device             %s\n",
           nll, exp(nll), (long long)result->predicted, (double)result->predicted / result->seconds, device);
    return true;
}

/** The window: that of the options or the model, at most the length of the text. */
static bool select_window(const struct options *options, const struct config *config, size_t size, int64_t *window)
{
    if (size < 2)
        return report_failure("%s: %zu bytes; at least 2 are needed to predict one", options->text, size);
    *window = options->window ? options->window : config->max_positions;
    if (*window > config->max_positions)
        return report_failure("--window %lld: above max_position_embeddings %lld", (long long)*window,
                              (long long)config->max_positions);
    if ((uint64_t)*window > size - 1)
        *window = (int64_t)size - 1;
    return true;
}

static bool measure_text(const struct options *options, const uint8_t *text, size_t size)
{
    struct config config;
    struct compute compute;
    struct decoder decoder;
    int64_t window = 0;
    struct result result = {.predicted = (int64_t)size - 1};
    if (!config_load(options->dir, options->model.ignore_unknown_keys, &config) ||
        !select_window(options, &config, size, &window) || !compute_open(&compute, &options->model.compute))
        return false;
    bool done = decoder_open(&decoder, options->dir, &config, &compute, window, options->model.file_flags);
    if (done) {
        done = measure(&decoder, text, &result) && print_result(&result, &compute, options->json);
        decoder_close(&decoder);
    }
    compute_close(&compute);
    return done;
}

int command_perplexity(int argc, char **argv)
{
    static const struct argp_option list[] = {
        {"text", 't', "FILE", 0, "Text to predict, byte by byte; at most 1 GiB", 0},
        {"window", 'w', "N", 0, "Predict in separate windows of N bytes (default: max_position_embeddings)", 0},
        {"json", 'j', NULL, 0, "Print a JSON object", 0},
        {0},
    };
    static const struct argp argp = {
        .options = list,
        .parser = parse,
        .children = model_arguments,
        .args_doc = "DIR",
        .doc =
            "Measures how well the language model in DIR (config.json, model.safetensors or shards) predicts a text.",
    };
    struct options options = {.model = {.compute = {.own_pool = true}}};
    char *text;
    size_t size;
    if (!arguments_parse(&argp, argc, argv, 0, &options))
        return EXIT_FAILED;
    if (!text_load(options.text, TEXT_LIMIT, &text, &size))
        return EXIT_FAILED;
    const bool done = measure_text(&options, (const uint8_t *)text, size);
    free(text);
    return done ? EXIT_SUCCESS : EXIT_FAILED;
}
