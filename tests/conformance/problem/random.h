/* SPDX-License-Identifier: MIT */
#ifndef MGLU_CONFORMANCE_RANDOM_H
#define MGLU_CONFORMANCE_RANDOM_H

#include "conformance.h"

/** Random numbers that depend on a case's name, the seed and a counter alone: xxHash of the three. */
struct random {
    uint64_t key;
    uint64_t counter;
};
struct random random_for(const struct target *target, const char *case_name, const char *purpose);
uint64_t random_u64(struct random *random);
/** In [-1, 1), 24 bits. */
float random_unit(struct random *random);

#endif
