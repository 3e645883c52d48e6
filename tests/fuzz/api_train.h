/* SPDX-License-Identifier: MIT */
#ifndef MGLU_TESTS_FUZZ_API_TRAIN_H
#define MGLU_TESTS_FUZZ_API_TRAIN_H

#include "fuzz.h"

/**
 * @file
 * Calls of mglu/train.h on one plan, with arguments from the input.
 */

/** One call: the plan is made on the device, anew where there is one, or used with the queue, or destroyed. */
void api_train_call(struct fuzz_stream *stream, mglu_device *device, mglu_queue *queue);

/** Destroys the plan, where there is one. */
void api_train_destroy(void);

#endif
