/* SPDX-License-Identifier: MIT */
#include "arguments.h"

#include "report.h"

#include <errno.h>
#include <stdlib.h>

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
