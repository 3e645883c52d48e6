/* SPDX-License-Identifier: MIT */
#ifndef MGLU_IO_OUTPUT_H
#define MGLU_IO_OUTPUT_H

#include <mglu/io.h>

/*
 * A file that is written atomically: complete or absent, and an older one unchanged until then. Where the file system
 * can (O_TMPFILE), the new file has no name before it is complete, so that nothing is left even of a killed process.
 * Links are followed: the file that a symbolic link names is replaced, and the link kept. The new file has the mode
 * and the owner of the older one.
 */
struct mglu_io_output {
    const char *path; /* the caller's; must stay valid until commit or discard */
    char *target;     /* what it names, its links followed */
    const char *name; /* the last part of target */
    int folder;       /* the descriptor of the rest */
    int descriptor;
    uint64_t size;      /* bytes that mglu_io_output_write() has written */
    int replaces;       /* there is an older file */
    char temporary[48]; /* name in the folder; "": it has none yet */
};

/*
 * Begins a file. What prevents it from being written (a name that is too long, no permission, an owner that can't be
 * kept) is known now, except for the space. Only regular files are ever replaced.
 */
mglu_status mglu_io_output_begin(struct mglu_io_output *output, const char *path);

mglu_status mglu_io_output_write(struct mglu_io_output *output, const void *bytes, size_t count);

/* The same at a place of the file, behind what the other call writes. May be called from several threads. */
mglu_status mglu_io_output_write_at(struct mglu_io_output *output, uint64_t offset, const void *bytes, size_t count);

/* Starts to write to the disk what it does not have yet, so that the commit waits for less. */
void mglu_io_output_start_sync(struct mglu_io_output *output);

/* Syncs and gives the file its name. On failure nothing is left of it and the older file is unchanged. */
mglu_status mglu_io_output_commit(struct mglu_io_output *output);

/* Leaves nothing of the file. Does not change mglu_last_error(). */
void mglu_io_output_discard(struct mglu_io_output *output);

#endif
