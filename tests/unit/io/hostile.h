/* SPDX-License-Identifier: MIT */
#ifndef MGLU_TEST_IO_HOSTILE_H
#define MGLU_TEST_IO_HOSTILE_H

#include "tests/unit/io/support.h"

/* Files that must be refused or do no harm, in the folder of the test. */

/* Read and mapped the file is refused with this status, in one line that names it and contains `says`. */
void assert_refused(const char *name, const char *rule, mglu_status expected, const char *says);

/* Reads every byte of an open file and describes every layer. One that is refused names the file. */
void use_everything(const mglu_file *file, const char *name);

/* Every beginning of these bytes, as a file of this name, is corrupt. */
void assert_refused_when_cut(const char *name, const unsigned char *bytes, size_t size);

/* With any bit of its first `header` bytes changed, the file can be used or is refused as corrupt or with `other`. */
void assert_harmless_when_flipped(const char *name, unsigned char *bytes, size_t size, size_t header,
                                  mglu_status other);

/*
 * The file of `size` bytes is refused in a second for each megabyte and with at most twice the file and 16 MB above
 * what the process had before the first of these calls. With sanitizers memory is not checked.
 */
void assert_cheaply_refused(const char *name, const char *rule, mglu_status expected, size_t size);

#endif
