/* SPDX-License-Identifier: MIT */
#ifndef MGLU_IO_GGUF_STREAM_H
#define MGLU_IO_GGUF_STREAM_H

#include <mglu/status.h>

#include <stddef.h>
#include <stdint.h>

/*
 * The header of a GGUF file, read from front to back through a small buffer: its length is known only at its end, and
 * a wrong count in it must not cost memory.
 */
struct mglu_io_stream {
    const char *path;
    int descriptor;
    uint64_t size; /* of the file */
    uint64_t at;   /* offset of the next byte */
    uint64_t end;  /* of the longest header that is read */
    uint64_t first;
    size_t have; /* bytes of the file in the buffer, from `first` on */
    unsigned char buffer[4096];
};

/* Reads the file's bytes from `offset` on, all of them. */
mglu_status mglu_io_read_at(const char *path, int descriptor, uint64_t offset, void *bytes, size_t count);

/* Begins at the first byte of a file of `size` bytes. */
void mglu_io_stream_begin(struct mglu_io_stream *stream, const char *path, int descriptor, uint64_t size);

/* Bytes that the header can still have. */
uint64_t mglu_io_stream_left(const struct mglu_io_stream *stream);

/* MGLU_ERROR_CORRUPT_FILE at the next byte of the header, with the file's name. */
mglu_status mglu_io_stream_fail(const struct mglu_io_stream *stream, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

mglu_status mglu_io_stream_take(struct mglu_io_stream *stream, void *bytes, size_t count);
mglu_status mglu_io_stream_skip(struct mglu_io_stream *stream, uint64_t count);
mglu_status mglu_io_stream_u32(struct mglu_io_stream *stream, uint32_t *value);
mglu_status mglu_io_stream_u64(struct mglu_io_stream *stream, uint64_t *value);

/* A text of 1 to `most` bytes without NUL, to be freed; `what` names it in errors. */
mglu_status mglu_io_stream_text(struct mglu_io_stream *stream, const char *what, size_t most, char **text);

#endif
