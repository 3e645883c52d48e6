/* SPDX-License-Identifier: MIT */
#ifndef MGLU_BENCH_SERVE_H
#define MGLU_BENCH_SERVE_H

/**
 * @file
 * This program as a peer of another mglu-bench: the layers of one backend, timed on request.
 */

#include "options.h"

/** Answers questions on standard input until it ends. The protocol is in bench/peers/README.md. */
bool serve(const struct options *options);

#endif
