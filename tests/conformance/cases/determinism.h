/* SPDX-License-Identifier: MIT */
#ifndef MGLU_CONFORMANCE_DETERMINISM_H
#define MGLU_CONFORMANCE_DETERMINISM_H

#include "cases/sets.h"
#include "judge/expect.h"
#include "problem/forward.h"

/** Backends may compute one token, small and large batches in different ways: one of each. */
enum { TOKEN_COUNTS = 3 };
extern const int64_t token_counts[TOKEN_COUNTS];

/** A layer with a down-projection. */
struct problem sized_problem(const struct trial *trial, int64_t h, int64_t d, int64_t batch);

/** Whether the library's own threads, or the host's, do the device's work. */
bool is_host_cpu(const struct target *target);

/**
 * y of the device in a context of its own, made from `desc`, with the target's instruction set where it names none;
 * NULL when the case has failed.
 */
unsigned char *run_in_context(const struct trial *trial, const struct problem *problem, mglu_context_desc desc);

/** determinism_threads.c: levels D0 and D1. */
void concurrent(const struct trial *trial);
void thread_counts(const struct trial *trial);
void hostile_pools(const struct trial *trial);

#endif
