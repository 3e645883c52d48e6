/* SPDX-License-Identifier: MIT */
#ifndef MGLU_TOOLS_LAYOUT_OPTIONS_H
#define MGLU_TOOLS_LAYOUT_OPTIONS_H

/**
 * @file
 * How the layers of a file are read: --fused and --ignore-unread; and --mmap.
 */

#include <argp.h>
#include <stdbool.h>
#include <stdint.h>

/** A command that reads layers has this argp as a child, with a uint32_t for flags of mglu_file_open() as its input. */
extern const struct argp layout_argp;

/** One that computes layers has this argp as a child too, with the same input. */
extern const struct argp mapping_argp;

/** Flags of weights for the flags of their file: those in a mapped file are used in place. */
uint32_t mapping_weights_flags(uint32_t file_flags);

/**
 * Adds to the flags of the command line, where they leave it open, the order of fused rows that belongs to the
 * model_type of a config.json beside `path`. Reports a model whose layers are not supported, and a config.json that
 * can't be read.
 */
bool layout_complete_flags(const char *path, uint32_t *flags);

#endif
