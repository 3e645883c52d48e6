/* SPDX-License-Identifier: MIT */
#ifndef MGLU_CORE_DESCRIBE_H
#define MGLU_CORE_DESCRIBE_H

#include <mglu/backend.h>

/* Enough for every layer. */
enum { MGLU_LAYER_TEXT_SIZE = 128 };

/*
 * Writes "layer HxD n_m=N DTYPE batch<=B". A backend's log line of a layer is
 * "BACKEND: <this>: kernel NAME, ENGINE, DETAILS: REASON"; docs/embedding.md promises that form.
 */
void mglu_describe_layer(const mglu_packed_weights *shape, int64_t most_tokens, char text[MGLU_LAYER_TEXT_SIZE]);

#endif
