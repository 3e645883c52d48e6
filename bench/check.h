/* SPDX-License-Identifier: MIT */
#ifndef MGLU_BENCH_CHECK_H
#define MGLU_BENCH_CHECK_H

#include "timed_layer.h"

/**
 * Checks that y of the last call of an open layer is finite, and that the last token's last outputs are correct.
 * Otherwise sets timed->wrong, and timed->failure to the reason. Does nothing if the layer has failed already.
 */
void check_timed_layer(struct timed_layer *timed);

#endif
