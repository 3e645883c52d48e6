/* SPDX-License-Identifier: MIT */
#ifndef MGLU_TESTS_FUZZ_H
#define MGLU_TESTS_FUZZ_H

#include <mglu/mglu.h>

#include <stdbool.h>

/**
 * @file
 * What the fuzz targets share. A target is one source file fuzz_NAME.c that defines LLVMFuzzerTestOneInput(); README.md
 * says how it is run. Everything that costs time is made once per process and never per input.
 */

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

/** A check failed where `is_true` is 0: prints `what` and the last error, and aborts, which is a finding. */
void fuzz_require(int is_true, const char *what);

/** Requires that a failed call left a text of one line, and that a status is one of mglu/status.h. */
void fuzz_check_status(mglu_status status, const char *call);

/** The input as a stream of numbers; when it has ended, all further ones are 0. */
struct fuzz_stream {
    const uint8_t *at, *end;
};

uint8_t fuzz_byte(struct fuzz_stream *stream);

/** A little-endian number of `bytes` bytes, at most 8. */
uint64_t fuzz_number(struct fuzz_stream *stream, int bytes);

/** A number of 0..count - 1. */
uint32_t fuzz_below(struct fuzz_stream *stream, uint32_t count);

/** The bytes that are left. */
size_t fuzz_left(const struct fuzz_stream *stream);

/** A folder of this process in memory where there is one, else in TMPDIR or /tmp. Removed at exit, must be empty then.
 */
const char *fuzz_folder(void);

/** Writes the bytes to a file of that folder, which exists until exit, and returns its path. `slot` is 0 or 1. */
const char *fuzz_file(int slot, const char *name, const void *bytes, size_t size);

/** In device.c: a context without threads that exists until the process ends, and a device of it: "ref" or "cpu". */
mglu_context *fuzz_context(void);
mglu_device *fuzz_device(const char *backend);

/** The CPU, limited to one of the instruction sets of this machine. */
struct fuzz_isa {
    mglu_device *device; /**< NULL behind the last */
    const char *name;
};

/** In device.c: all of them, in contexts without threads. */
const struct fuzz_isa *fuzz_isas(void);

#endif
