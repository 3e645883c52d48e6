/* SPDX-License-Identifier: MIT */
#ifndef MGLU_BENCH_OUTPUT_H
#define MGLU_BENCH_OUTPUT_H

/**
 * @file
 * Results as a table on standard output and as JSON.
 */

#include "comparison.h"

#include <jansson.h>

/** The name of a member in tables and JSON: "glu", "mglu", "routed", or the name that a peer gives. */
const char *member_what(const struct member *member);

void table_machine(const struct machine *machine);
/** With what computes each layer where `verbose`. */
void table_comparison(const struct comparison *comparison, bool verbose);

/** The arguments of the command line; call it before options_parse(), which splits them. */
json_t *json_command(int argc, char **argv);

/** The report without rows; NULL when out of memory. */
json_t *json_report(const struct machine *machine, json_t *command);

/** Appends the rows of a comparison. */
bool json_add(json_t *report, const struct comparison *comparison);

/** Checks that a report can be written, before measuring; keeps an older one. Reports why not. */
bool json_can_write(const char *path);

/** Writes the report. Reports why not. */
bool json_write(const json_t *report, const char *path);

#endif
