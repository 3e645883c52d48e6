/* SPDX-License-Identifier: MIT */
#ifndef MGLU_TESTS_FUZZ_API_ARGUMENTS_H
#define MGLU_TESTS_FUZZ_API_ARGUMENTS_H

#include "fuzz.h"

/**
 * @file
 * Arguments of API calls from the input. Most are valid; any member may have a value that the library must refuse.
 * Every array has exactly the bytes that the headers ask for, in memory of its own, so that reading outside is found.
 * All memory lives until api_free_all(): borrowed weights need it.
 */

/** Memory of `size` bytes, filled as the input says; NULL beyond a limit per input. */
void *api_bytes(struct fuzz_stream *stream, size_t size);
void *api_aligned(size_t size);
void api_free_all(void);

/**
 * A copy of a struct whose struct_size is mostly right; else that of an older or newer caller, or too small to be
 * legal. A shorter one has at most `least` bytes: cut behind an array's address, it would not say how long the array
 * is.
 */
void *api_struct(struct fuzz_stream *stream, const void *members, size_t least, size_t size);

/** An enumerator of 0..count - 1, rarely another number. */
int api_choice(struct fuzz_stream *stream, int count);

/** Once in 32 times; never in a calm sequence of calls. */
int api_is_rare(struct fuzz_stream *stream);

/** A text that may name something: of a backend, an instruction set, a dtype or an activation. */
const char *api_text(struct fuzz_stream *stream);

/** A size: small, rarely 0, larger than any vector, or out of range. */
int64_t api_size(struct fuzz_stream *stream);

/** A matrix, rarely of another dtype. Of one that may be borrowed, as the flags say, the last row has its padding. */
mglu_array api_array(struct fuzz_stream *stream, uint32_t flags, mglu_dtype dtype, int64_t rows, int64_t columns);
/** The masks of weights whose sizes the desc has. */
mglu_mask_array api_masks(struct fuzz_stream *stream, const mglu_weights_desc *desc);
/** Rows of x, y and the like. */
mglu_input api_rows(struct fuzz_stream *stream, int64_t batch, int64_t columns, size_t element);

/** Threads of one call: none, a pool, or one without a function, which must be refused. */
const mglu_parallel *api_parallel(struct fuzz_stream *stream);
void api_run_backwards(void *user, int64_t count, mglu_task task, void *argument);

mglu_weights_desc api_weights(struct fuzz_stream *stream);
mglu_layer_desc api_layer(struct fuzz_stream *stream, int32_t n_masks);

/** The arguments of a forward of a layer with these descs. */
mglu_forward_args api_forward(struct fuzz_stream *stream, const mglu_weights_desc *weights,
                              const mglu_layer_desc *layer, size_t workspace_size);

#endif
