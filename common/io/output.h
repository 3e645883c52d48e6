/* SPDX-License-Identifier: MIT */
#ifndef MGLU_IO_OUTPUT_H
#define MGLU_IO_OUTPUT_H

#include <mglu/io.h>

/*
 * A file that appears at its path whole or not at all: written under another name in the same folder, synced, renamed.
 */
struct mglu_io_output {
    const char *path; /* the caller's; must live until commit or discard */
    char *temporary;  /* NULL: nothing to clean up */
    int descriptor;
};

/* Begins a file; an older one at `path` stays until the commit. What is no regular file is never replaced. */
mglu_status mglu_io_output_begin(struct mglu_io_output *output, const char *path);

mglu_status mglu_io_output_write(struct mglu_io_output *output, const void *bytes, size_t count);

/* Syncs and renames. On failure the temporary file is gone and the older file as it was. */
mglu_status mglu_io_output_commit(struct mglu_io_output *output);

/* Removes the temporary file. Keeps mglu_last_error(). */
void mglu_io_output_discard(struct mglu_io_output *output);

#endif
