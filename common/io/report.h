/* SPDX-License-Identifier: MIT */
#ifndef MGLU_IO_REPORT_H
#define MGLU_IO_REPORT_H

#include <mglu/io.h>

/*
 * Fails with "path: tensor 'name': text"; `tensor` may be NULL. Long names are truncated and control characters
 * replaced, so that the result is one line that contains the text, whatever is in the file.
 */
mglu_status mglu_io_fail(mglu_status status, const char *path, const char *tensor, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

mglu_status mglu_io_out_of_memory(const char *path);

/* MGLU_ERROR_IO: the failed action, with the system's error message for errno. */
mglu_status mglu_io_system_error(const char *path, const char *what);

/* Buffer size for the text of any shape: so many of its sizes are shown, then "...". */
enum { MGLU_IO_SHOWN_SIZES = 8, MGLU_IO_SHAPE_TEXT = (MGLU_IO_SHOWN_SIZES + 1) * 22 };

/* Writes a shape as "[4, 5]" and returns `text`. */
const char *mglu_io_shape_text(char text[MGLU_IO_SHAPE_TEXT], int32_t rank, const int64_t *shape);

#endif
