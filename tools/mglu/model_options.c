/* SPDX-License-Identifier: MIT */
#include "model_options.h"

#include "layout_options.h"

enum { KEY_UNKNOWN_KEYS = 0x500 };

static error_t parse(int key, char *argument, struct argp_state *state)
{
    bool *ignore_unknown_keys = state->input;
    (void)argument;
    if (key != KEY_UNKNOWN_KEYS)
        return ARGP_ERR_UNKNOWN;
    *ignore_unknown_keys = true;
    return 0;
}

static const struct argp_option list[] = {
    {"ignore-unknown-keys", KEY_UNKNOWN_KEYS, NULL, 0, "Accept keys of config.json whose meaning is not known", 0},
    {0},
};

static const struct argp argp = {.options = list, .parser = parse};
const struct argp_child model_arguments[5] = {{&arguments_compute_argp, 0, NULL, 0},
                                              {&layout_argp, 0, NULL, 0},
                                              {&argp, 0, NULL, 0},
                                              {&mapping_argp, 0, NULL, 0},
                                              {0}};

void model_arguments_begin(struct argp_state *state, struct model_options *options)
{
    state->child_inputs[0] = &options->compute;
    state->child_inputs[1] = &options->file_flags;
    state->child_inputs[2] = &options->ignore_unknown_keys;
    state->child_inputs[3] = &options->file_flags;
}
