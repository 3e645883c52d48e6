/* SPDX-License-Identifier: MIT */
#ifndef MGLU_BENCH_PEER_H
#define MGLU_BENCH_PEER_H

/**
 * @file
 * Another program that measures itself on request, over a pipe. The protocol is in bench/peers/README.md.
 */

#include "problem.h"

#include <sys/types.h>

enum { PEER_TEXT = 256, PEER_CASES = 64 };

/** One measurement that a peer offers. */
struct peer_case {
    char name[64]; /**< VARIANT:DTYPE:N_MASKS, from the peer */
    char variant[32], dtype[16];
    int32_t n_masks; /**< 0: a plain GLU */
};

struct peer {
    const char *name;
    pid_t pid;
    int to, from; /**< its standard input and output; -1 when it does not run */
    char device[PEER_TEXT];
    char failure[PEER_TEXT]; /**< why it does not run; "" while it does */
};

/** Starts the program of an option and waits until it is ready. On failure peer->failure has the reason. */
void peer_start(struct peer *peer, const struct peer_option *option, const struct options *options, int threads);
void peer_stop(struct peer *peer);

/** Asks for the cases that it can measure of a problem; returns their number, on failure 0 and the reason. */
int peer_open(struct peer *peer, const struct problem *problem, const struct options *options, int64_t cold_bytes,
              struct peer_case cases[PEER_CASES], char failure[PEER_TEXT]);

/** Waits until this process's OpenMP threads, which spin for a while after work, sleep and the CPUs are free. */
void peer_let_threads_sleep(void);

/** Seconds that one call of a case took; 0 and the reason on failure. */
double peer_time(struct peer *peer, const struct peer_case *peer_case, char failure[PEER_TEXT]);

#endif
