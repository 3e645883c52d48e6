/* SPDX-License-Identifier: MIT */
#ifndef MGLU_TOOLS_COMMON_ARGUMENTS_H
#define MGLU_TOOLS_COMMON_ARGUMENTS_H

/**
 * @file
 * Parsing of option values. An invalid value ends the program with a usage error.
 */

#include <mglu/mglu.h>

#include <argp.h>
#include <stdbool.h>

/**
 * The options that fill a struct compute_options: --backend, --max-isa, --threads and --quantised-x. A program that
 * computes has them as children of its argp, and points state->child_inputs[0] to the struct at ARGP_KEY_INIT.
 */
extern const struct argp_child arguments_compute[2];
/** The same for a program with further children. */
extern const struct argp arguments_compute_argp;

/**
 * argp_parse() with a message where it fails, which it does without one when memory runs out; usage errors end the
 * program.
 */
bool arguments_parse(const struct argp *argp, int argc, char **argv, unsigned flags, void *input);

/** A whole number from `lowest` to `highest`. `what` names the option. */
int64_t arguments_number(struct argp_state *state, const char *what, const char *text, int64_t lowest, int64_t highest);

/** Index of `text` in `names`; any other word is a usage error. */
int arguments_choice(struct argp_state *state, const char *what, const char *text, const char *const *names, int count);

mglu_activation arguments_activation(struct argp_state *state, const char *text);
mglu_dtype arguments_dtype(struct argp_state *state, const char *text);

/** Stores an operand in the first free one of `count` places; too many are a usage error. */
void arguments_operand(struct argp_state *state, char *text, char **const places[], size_t count);

/** A usage error if the value is missing. */
void arguments_need(struct argp_state *state, const void *value, const char *what);

#endif
