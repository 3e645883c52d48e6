/* SPDX-License-Identifier: MIT */
#ifndef MGLU_IO_OUTPUT_H
#define MGLU_IO_OUTPUT_H

#include <mglu/io.h>

/*
 * A file that is written atomically: under another name in the same folder, synced, then renamed.
 */
struct mglu_io_output {
    const char *path; /* the caller's; must stay valid until commit or discard */
    char *temporary;  /* NULL: nothing to clean up */
    int descriptor;
};

/* Begins a file; an older one at `path` stays until the commit. Only regular files are ever replaced. */
mglu_status mglu_io_output_begin(struct mglu_io_output *output, const char *path);

mglu_status mglu_io_output_write(struct mglu_io_output *output, const void *bytes, size_t count);

/* Syncs and renames. On failure the temporary file is removed and the older file unchanged. */
mglu_status mglu_io_output_commit(struct mglu_io_output *output);

/* Removes the temporary file. Does not change mglu_last_error(). */
void mglu_io_output_discard(struct mglu_io_output *output);

#endif
