/* SPDX-License-Identifier: MIT */
#ifndef MGLU_CONFORMANCE_JUDGE_TRAIN_BITS_H
#define MGLU_CONFORMANCE_JUDGE_TRAIN_BITS_H

#include "judge/train.h"

/** The results of a step as bytes, without gaps. */
struct train_bits {
    unsigned char *bytes[TRAIN_RESULTS];
    size_t sizes[TRAIN_RESULTS];
};

struct train_bits train_bits_read(const struct train_problem *problem);
void train_bits_free(struct train_bits *bits);

/** Fails the outcome where a result has other bits. `what` says of which run. */
void train_bits_expect(const struct train_bits *got, const struct train_bits *want, const char *what,
                       struct outcome *outcome);

#endif
