/* SPDX-License-Identifier: MIT */
#include "fuzz.h"

#include "tools/mglu/decoder.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*
 * The input is a model: two bytes with the length of config.json, config.json, model.safetensors. It is loaded as by
 * `mglu generate`, and computes the logits of a few tokens. Whatever fails must have been reported.
 */

enum { CAPACITY = 3, VOCABULARY = 256 };

/* The messages of the program's code. It writes to stderr, which is this stream while an input runs. */
static struct {
    FILE *stream;
    char *text;
    size_t size;
} messages;

static void start_messages(void)
{
    if (!messages.stream)
        messages.stream = open_memstream(&messages.text, &messages.size);
    fuzz_require(messages.stream != NULL, "no memory stream");
    rewind(messages.stream);
}

static void check_reported(bool done)
{
    fflush(messages.stream);
    fuzz_require((ftell(messages.stream) > 0) == !done, "a result and its message contradict each other");
}

static struct compute *computer(void)
{
    static const struct compute_options options = {.backend = "cpu", .threads = 1};
    static struct compute compute;

    if (!compute.context)
        fuzz_require(compute_open(&compute, &options), "no device");
    return &compute;
}

static void feed(struct decoder *decoder)
{
    static const uint8_t tokens[CAPACITY] = {0, 255, 'a'};
    static float logits[CAPACITY * VOCABULARY];
    const int64_t count = decoder->capacity;

    fuzz_require(decoder_feed(decoder, tokens, count, 1, logits), "a loaded model does not run");
    decoder_reset(decoder);
    fuzz_require(decoder_feed(decoder, tokens, count, count, logits), "a model does not run twice");
}

/* Unknown keys and unread tensors are ignored by half of the inputs. */
static bool load_and_feed(const char *folder, bool lenient)
{
    struct config config;
    struct decoder decoder;

    if (!config_load(folder, lenient, &config))
        return false;
    fuzz_require(config.vocab_size == VOCABULARY, "config_load() accepts a vocabulary that the tokens do not have");
    const int64_t capacity = config.max_positions < CAPACITY ? config.max_positions : CAPACITY;
    if (!decoder_open(&decoder, folder, &config, computer(), capacity, lenient ? MGLU_FILE_IGNORE_UNREAD : 0))
        return false;
    feed(&decoder);
    decoder_close(&decoder);
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    struct fuzz_stream stream = {bytes, bytes + size};
    size_t length = (size_t)fuzz_number(&stream, 2);
    FILE *own = stderr;
    bool done;

    if (length > fuzz_left(&stream))
        length = fuzz_left(&stream);
    fuzz_file(0, "config.json", stream.at, length);
    fuzz_file(1, "model.safetensors", stream.at + length, fuzz_left(&stream) - length);
    start_messages();
    computer();
    stderr = messages.stream;
    done = load_and_feed(fuzz_folder(), length % 2);
    stderr = own;
    check_reported(done);
    return 0;
}
