/* SPDX-License-Identifier: MIT */
#include "options.h"

#include "tools/common/arguments.h"
#include "tools/common/report.h"

#include <stdlib.h>
#include <string.h>

const char *const op_names[OP_COUNT] = {"projection", "ffn", "routed"};
const char *const regime_names[REGIME_COUNT] = {"cold", "warm"};

enum {
    KEY_X_DTYPE = 256,
    KEY_OP,
    KEY_TOP_K,
    KEY_REGIME,
    KEY_PEERS,
    KEY_REPEATS,
    KEY_SECONDS,
    KEY_COLD_BYTES,
    KEY_SERVE,
    KEY_JSON
};

static const struct argp_option list[] = {
    {"shapes", 's', "DxH,..", 0, "Intermediate x hidden sizes (default: 8192x2048,14336x4096)", 0},
    {"masks", 'm', "N,..", 0, "Numbers of masks (default: 1,2,4,8,16)", 0},
    {"batch", 'n', "N,..", 0, "Tokens per call (default: 1)", 0},
    {"dtype", 'd', "T,..", 0, "Stored weights: f32, f16, bf16, q8_0, q4_0 (default: f16)", 0},
    {"x-dtype", KEY_X_DTYPE, "T", 0, "Inputs and outputs: f32, f16 or bf16 (default: f32)", 0},
    {"op", KEY_OP, "OP,..", 0, "projection, ffn (with down-projection) or routed (default: projection)", 0},
    {"top-k", KEY_TOP_K, "K", 0, "Masks that a routed token uses (default: 2)", 0},
    {"regime", KEY_REGIME, "R,..", 0,
     "cold (weights come from memory) or warm (from the cache where they fit) (default: cold,warm)", 0},
    {"peers", KEY_PEERS, "P,..", 0,
     "Other implementations to compare with: torch, openblas, a backend, or NAME=COMMAND", 0},
    {"repeats", KEY_REPEATS, "N", 0, "Rounds of each comparison (default: as --seconds allows, at least 5)", 0},
    {"seconds", KEY_SECONDS, "S", 0, "Time for the rounds of each comparison (default: 2)", 0},
    {"cold-bytes", KEY_COLD_BYTES, "N", 0,
     "Size of all copies of cold weights together (default: 3 x last-level cache)", 0},
    {"serve", KEY_SERVE, NULL, 0, "Run as a peer of another mglu-bench: read its requests from standard input", 0},
    {"verbose", 'v', NULL, 0, "Print what computes each layer under its row", 0},
    {"json", KEY_JSON, "FILE", 0, "Write all results as JSON", 0},
    {0},
};

static void add_shape(struct argp_state *state, struct options *options, char *word)
{
    char *cross = strchr(word, 'x');
    if (!cross)
        argp_error(state, "--shapes %s: not of the form DxH, as 8192x2048", word);
    *cross = '\0';
    const int64_t d = arguments_number(state, "--shapes", word, 1, MGLU_MAX_SIZE);
    const int64_t h = arguments_number(state, "--shapes", cross + 1, 1, MGLU_MAX_SIZE);
    options->shapes[options->shape_count++] = (struct shape){d, h};
}

static void add_masks(struct argp_state *state, struct options *options, char *word)
{
    options->masks[options->mask_count++] = (int32_t)arguments_number(state, "--masks", word, 1, MGLU_MAX_MASKS);
}

static void add_batch(struct argp_state *state, struct options *options, char *word)
{
    options->batches[options->batch_count++] = arguments_number(state, "--batch", word, 1, MGLU_MAX_BATCH);
}

static void add_dtype(struct argp_state *state, struct options *options, char *word)
{
    options->dtypes[options->dtype_count++] = arguments_dtype(state, word);
}

static void add_op(struct argp_state *state, struct options *options, char *word)
{
    options->ops[options->op_count++] = (enum op)arguments_choice(state, "--op", word, op_names, OP_COUNT);
}

static void add_regime(struct argp_state *state, struct options *options, char *word)
{
    options->regimes[options->regime_count++] =
        (enum regime)arguments_choice(state, "--regime", word, regime_names, REGIME_COUNT);
}

static void add_peer(struct argp_state *state, struct options *options, char *word)
{
    char *equals = strchr(word, '=');
    if (equals == word || (equals && !equals[1]))
        argp_error(state, "--peers %s: not of the form NAME=COMMAND", word);
    if (equals)
        *equals = '\0';
    options->peers[options->peer_count++] = (struct peer_option){word, equals ? equals + 1 : NULL};
}

/** Splits a list at its commas, in place, since argv stays valid. */
static void split(struct argp_state *state, const char *what, char *text, int *count,
                  void (*add)(struct argp_state *state, struct options *options, char *word))
{
    *count = 0;
    for (char *word = text, *next; word; word = next) {
        next = strchr(word, ',');
        if (next)
            *next++ = '\0';
        if (!*word)
            argp_error(state, "%s: empty member in the list", what);
        if (*count == LIST_MAX)
            argp_error(state, "%s: more than %d members", what, LIST_MAX);
        add(state, state->input, word);
    }
}

static double parse_seconds(struct argp_state *state, const char *text)
{
    char *end;
    const double value = strtod(text, &end);
    if (end == text || *end || !(value >= 0 && value <= 1e6))
        argp_error(state, "--seconds %s: not a number from 0 to 1000000", text);
    return value;
}

static mglu_dtype parse_x_dtype(struct argp_state *state, const char *text)
{
    mglu_dtype dtype = MGLU_DTYPE_F32;
    if (mglu_dtype_from_name(text, &dtype) != MGLU_OK || !mglu_dtype_size(dtype))
        argp_error(state, "--x-dtype %s: must be f32, f16 or bf16", text);
    return dtype;
}

/** The options that are lists. */
static error_t parse_list(int key, char *argument, struct argp_state *state)
{
    struct options *options = state->input;
    switch (key) {
    case 's':
        split(state, "--shapes", argument, &options->shape_count, add_shape);
        return 0;
    case 'm':
        split(state, "--masks", argument, &options->mask_count, add_masks);
        return 0;
    case 'n':
        split(state, "--batch", argument, &options->batch_count, add_batch);
        return 0;
    case 'd':
        split(state, "--dtype", argument, &options->dtype_count, add_dtype);
        return 0;
    case KEY_OP:
        split(state, "--op", argument, &options->op_count, add_op);
        return 0;
    case KEY_REGIME:
        split(state, "--regime", argument, &options->regime_count, add_regime);
        return 0;
    case KEY_PEERS:
        split(state, "--peers", argument, &options->peer_count, add_peer);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static error_t parse(int key, char *argument, struct argp_state *state)
{
    struct options *options = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &options->compute;
        return 0;
    case 'v':
        options->verbose = true;
        return 0;
    case KEY_JSON:
        options->json = argument;
        return 0;
    case KEY_SERVE:
        options->serve = true;
        return 0;
    case KEY_X_DTYPE:
        options->x_dtype = parse_x_dtype(state, argument);
        return 0;
    case KEY_TOP_K:
        options->top_k = (int32_t)arguments_number(state, "--top-k", argument, 1, MGLU_MAX_MASKS);
        return 0;
    case KEY_REPEATS:
        options->repeats = arguments_number(state, "--repeats", argument, 1, 1000);
        return 0;
    case KEY_SECONDS:
        options->seconds = parse_seconds(state, argument);
        return 0;
    case KEY_COLD_BYTES:
        options->cold_bytes = arguments_number(state, "--cold-bytes", argument, 1, (int64_t)1 << 40);
        return 0;
    case ARGP_KEY_ARG:
        argp_error(state, "%s: unexpected operand", argument);
        return 0;
    default:
        return parse_list(key, argument, state);
    }
}

static void print_version(FILE *stream, struct argp_state *state)
{
    fprintf(stream, "mglu-bench %s (%s)\n", mglu_version(), mglu_build_info());
}

void options_parse(struct options *options, int argc, char **argv)
{
    static const struct argp argp = {
        .options = list,
        .parser = parse,
        .children = arguments_compute,
        .doc =
            "Compares masked layers with plain ones, and with the machine's read bandwidth and peak arithmetic."
            "\vEach round of a run measures everything once, in random order; ratios are medians over rounds. Every "
            "output is first compared with the reference backend. What can't be measured is a row with the reason. On "
            "devices with memory of their own the read bandwidth is that of a copy, where a peer measures one, and "
            "cold weights take 384 MiB unless --cold-bytes is given.\n\n"
            "The exit status is 0 when something was measured and nothing was wrong, 1 otherwise, 2 for bad usage.",
    };
    *options = (struct options){
        .shapes = {{8192, 2048}, {14336, 4096}},
        .shape_count = 2,
        .masks = {1, 2, 4, 8, 16},
        .mask_count = 5,
        .batches = {1},
        .batch_count = 1,
        .dtypes = {MGLU_DTYPE_F16},
        .dtype_count = 1,
        .ops = {OP_PROJECTION},
        .op_count = 1,
        .regimes = {REGIME_COLD, REGIME_WARM},
        .regime_count = 2,
        .x_dtype = MGLU_DTYPE_F32,
        .top_k = 2,
        .seconds = 2,
    };
    argp_err_exit_status = EXIT_USAGE;
    argp_program_version_hook = print_version;
    if (!arguments_parse(&argp, argc, argv, 0, options))
        exit(EXIT_FAILED);
}
