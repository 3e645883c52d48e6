/* SPDX-License-Identifier: MIT */
#include "leniency.h"

#include "tools/common/arguments.h"

enum { KEY_UNKNOWN_KEYS = 0x500, KEY_UNREAD_TENSORS };

static error_t parse(int key, char *argument, struct argp_state *state)
{
    struct leniency *leniency = state->input;
    (void)argument;
    switch (key) {
    case KEY_UNKNOWN_KEYS:
        leniency->unknown_keys = true;
        return 0;
    case KEY_UNREAD_TENSORS:
        leniency->unread_tensors = true;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_option list[] = {
    {"ignore-unknown-keys", KEY_UNKNOWN_KEYS, NULL, 0, "Accept keys of config.json whose meaning is not known", 0},
    {"ignore-unread-tensors", KEY_UNREAD_TENSORS, NULL, 0, "Accept tensors that the computation does not read", 0},
    {0},
};

static const struct argp argp = {.options = list, .parser = parse};
const struct argp_child model_arguments[3] = {{&arguments_compute_argp, 0, NULL, 0}, {&argp, 0, NULL, 0}, {0}};
