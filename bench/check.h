/* SPDX-License-Identifier: MIT */
#ifndef MGLU_BENCH_CHECK_H
#define MGLU_BENCH_CHECK_H

#include "timed_layer.h"

/**
 * Checks that y, as the last call of an open layer left it, is finite, and right in the last token's last outputs.
 * Otherwise sets timed->wrong, and timed->failure to the reason. One that has failed already stays as it is.
 */
void check_timed_layer(struct timed_layer *timed);

#endif
