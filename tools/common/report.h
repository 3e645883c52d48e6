/* SPDX-License-Identifier: MIT */
#ifndef MGLU_TOOLS_COMMON_REPORT_H
#define MGLU_TOOLS_COMMON_REPORT_H

/**
 * @file
 * What a program prints on stderr: one line when it fails, and a progress line on a terminal.
 */

#include <stdbool.h>
#include <stddef.h>

/** Exit statuses of every command. */
enum { EXIT_FAILED = 1, EXIT_USAGE = 2 };

/** Sets the words that errors begin with, as "mglu run". Must outlive the program. */
void report_command(const char *name);

/** Prints "mglu run: ..." as one line without control characters. Returns false, for `return report_failure(...)`. */
bool report_failure(const char *format, ...) __attribute__((format(printf, 1, 2)));

/** Prints a line as report_failure() does, of a fault that is not fatal. */
void report_warning(const char *format, ...) __attribute__((format(printf, 1, 2)));

/** Fails with the library's reason, after `what` it is about; NULL where the reason names a file itself. */
bool report_library(const char *what);

/** Zeroed memory for `count` elements, never NULL for a count of 0. Reports when out of memory. */
void *report_allocate(size_t count, size_t size);

/** Redraws the progress line when stderr is a terminal. */
void report_progress(const char *what, size_t done, size_t total);

/** Erases the progress line. */
void report_progress_end(void);

/** Registers a check at exit that stdout was written completely; if not, reports it and exits with status 1. */
void report_check_stdout(void);

/** Whether a write to stdout has failed already. */
bool report_stdout_failed(void);

/** Replaces control characters of a text from a file, so that it can be printed to a terminal. */
void report_clean(char *text);

#endif
