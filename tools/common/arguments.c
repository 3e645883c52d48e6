/* SPDX-License-Identifier: MIT */
#include "arguments.h"

#include "compute.h"
#include "report.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

bool arguments_parse(const struct argp *argp, int argc, char **argv, unsigned flags, void *input)
{
    const error_t error = argp_parse(argp, argc, argv, flags, NULL, input);
    return error == 0 || report_failure("arguments: %s", strerror(error));
}

int64_t arguments_number(struct argp_state *state, const char *what, const char *text, int64_t lowest, int64_t highest)
{
    char *end;
    errno = 0;
    const long long value = strtoll(text, &end, 10);
    if (end == text || *end || errno || value < lowest || value > highest)
        argp_error(state, "%s %s: not a whole number from %lld to %lld", what, text, (long long)lowest,
                   (long long)highest);
    return value;
}

int arguments_choice(struct argp_state *state, const char *what, const char *text, const char *const *names, int count)
{
    char known[128] = "";
    for (int i = 0; i < count; i++) {
        if (strcmp(text, names[i]) == 0)
            return i;
        strcat(strcat(known, i ? ", " : ""), names[i]);
    }
    argp_error(state, "%s %s: must be one of %s", what, text, known);
    return 0;
}

mglu_activation arguments_activation(struct argp_state *state, const char *text)
{
    mglu_activation activation = MGLU_ACTIVATION_SILU;
    if (mglu_activation_from_name(text, &activation) != MGLU_OK)
        argp_error(state, "--activation: %s", mglu_last_error());
    return activation;
}

mglu_dtype arguments_dtype(struct argp_state *state, const char *text)
{
    mglu_dtype dtype = MGLU_DTYPE_F32;
    if (mglu_dtype_from_name(text, &dtype) != MGLU_OK)
        argp_error(state, "--dtype: %s", mglu_last_error());
    return dtype;
}

void arguments_operand(struct argp_state *state, char *text, char **const places[], size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (!*places[i]) {
            *places[i] = text;
            return;
        }
    }
    argp_error(state, "%s: unexpected operand", text);
}

void arguments_need(struct argp_state *state, const void *value, const char *what)
{
    if (!value)
        argp_error(state, "%s: missing", what);
}

enum { KEY_QUANTISED_X = 0x400, KEY_MAX_ISA, KEY_THREADS };

static error_t parse_compute(int key, char *argument, struct argp_state *state)
{
    struct compute_options *options = state->input;
    switch (key) {
    case 'b':
        options->backend = argument;
        return 0;
    case KEY_MAX_ISA:
        options->max_isa = argument;
        return 0;
    case KEY_THREADS:
        options->threads = (int)arguments_number(state, "--threads", argument, 1, COMPUTE_MAX_THREADS);
        return 0;
    case KEY_QUANTISED_X:
        options->layer_flags |= MGLU_LAYER_ALLOW_QUANTISED_X;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_option compute_list[] = {
    {"backend", 'b', "B", 0, "Backend to compute with, auto or host (default: MGLU_BACKEND, else auto)", 0},
    {"max-isa", KEY_MAX_ISA, "ISA", 0,
     "Use no CPU instruction set above this one, as avx2 (default: MGLU_MAX_ISA, "
     "else the best of this machine)",
     0},
    {"threads", KEY_THREADS, "N", 0, "CPU threads (default: MGLU_NUM_THREADS, else as many as this process may use)",
     0},
    {"quantised-x", KEY_QUANTISED_X, NULL, 0,
     "Allow quantising x to 8 bits where weights are quantised, which is faster on CPUs", 0},
    {0},
};

const struct argp arguments_compute_argp = {.options = compute_list, .parser = parse_compute};
const struct argp_child arguments_compute[2] = {{&arguments_compute_argp, 0, NULL, 0}, {0}};
