/* SPDX-License-Identifier: MIT */
#ifndef MGLU_TESTS_FUZZ_WEIGHTS_FILE_H
#define MGLU_TESTS_FUZZ_WEIGHTS_FILE_H

#include "fuzz.h"

#include <mglu/io.h>

/** @file What holds for every file that was opened, of each format. */

/** Reads every byte, and requires that tensors and metadata are found by their names. */
void file_read_tensors(const mglu_file *file);

/** Checks that the call left a text if it failed; whether mglu_file_layer() may return this for a listed layer. */
bool file_is_layer_status(mglu_status status);

#endif
