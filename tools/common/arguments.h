/* SPDX-License-Identifier: MIT */
#ifndef MGLU_TOOLS_COMMON_ARGUMENTS_H
#define MGLU_TOOLS_COMMON_ARGUMENTS_H

/**
 * @file
 * Reading of option values. A value that is no good ends the program as bad usage.
 */

#include <mglu/mglu.h>

#include <argp.h>

/** The option that all commands that compute have in common. */
#define ARGUMENTS_BACKEND                                                                                              \
    {                                                                                                                  \
        "backend", 'b', "B", 0, "Backend to compute with, or auto (default: MGLU_BACKEND, else auto)", 0               \
    }

/** The option of those that make layers; its letter is none. */
enum { ARGUMENTS_KEY_QUANTISED_X = 0x400 };
#define ARGUMENTS_QUANTISED_X                                                                                          \
    {                                                                                                                  \
        "quantised-x", ARGUMENTS_KEY_QUANTISED_X, NULL, 0,                                                             \
            "Let x be rounded to 8 bits where weights are quantised, which is faster on CPUs", 0                       \
    }

/** A whole number from `lowest` to `highest`. `what` names the option. */
int64_t arguments_number(struct argp_state *state, const char *what, const char *text, int64_t lowest, int64_t highest);

mglu_activation arguments_activation(struct argp_state *state, const char *text);
mglu_dtype arguments_dtype(struct argp_state *state, const char *text);

/** Puts the next operand into the first free one of `count` places; too many is bad usage. */
void arguments_operand(struct argp_state *state, char *text, char **const places[], size_t count);

/** Bad usage unless the value was given. */
void arguments_need(struct argp_state *state, const void *value, const char *what);

#endif
