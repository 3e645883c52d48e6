/* SPDX-License-Identifier: MIT */
#include "common/io/gguf_stream.h"

#include "common/io/report.h"
#include "common/json/json.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Far more than any vocabulary needs; bounds the time that a hostile header takes. */
#define MAX_HEADER ((uint64_t)100000000)

/* Linux reads at most 2^31 - 4096 bytes at once. */
enum { READ_AT_ONCE = 1 << 30 };

mglu_status mglu_io_read_at(const char *path, int descriptor, uint64_t offset, void *bytes, size_t count)
{
    unsigned char *to = bytes;

    while (count > 0) {
        ssize_t got = pread(descriptor, to, count < READ_AT_ONCE ? count : READ_AT_ONCE, (off_t)offset);

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return mglu_io_system_error(path, "cannot read");
        if (got == 0)
            return mglu_io_fail(MGLU_ERROR_CORRUPT_FILE, path, NULL, "truncated while it was read, at byte %llu",
                                (unsigned long long)offset);
        to += got;
        offset += (uint64_t)got;
        count -= (size_t)got;
    }
    return MGLU_OK;
}

void mglu_io_stream_begin(struct mglu_io_stream *stream, const char *path, int descriptor, uint64_t size)
{
    *stream = (struct mglu_io_stream){
        .path = path,
        .descriptor = descriptor,
        .size = size,
        .end = size < MAX_HEADER ? size : MAX_HEADER,
    };
}

uint64_t mglu_io_stream_left(const struct mglu_io_stream *stream)
{
    return stream->end - stream->at;
}

mglu_status mglu_io_stream_fail(const struct mglu_io_stream *stream, const char *format, ...)
{
    char reason[240];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(reason, sizeof reason, format, arguments);
    va_end(arguments);
    return mglu_io_fail(MGLU_ERROR_CORRUPT_FILE, stream->path, NULL, "GGUF header byte %llu: %s",
                        (unsigned long long)stream->at, reason);
}

static mglu_status need(const struct mglu_io_stream *stream, uint64_t count)
{
    if (count <= mglu_io_stream_left(stream))
        return MGLU_OK;
    if (stream->end < stream->size)
        return mglu_io_stream_fail(stream, "longer than %llu bytes", (unsigned long long)MAX_HEADER);
    return mglu_io_stream_fail(stream, "%llu bytes expected, the file has %llu more: truncated",
                               (unsigned long long)count, (unsigned long long)mglu_io_stream_left(stream));
}

static mglu_status refill(struct mglu_io_stream *stream)
{
    uint64_t left = mglu_io_stream_left(stream);

    stream->first = stream->at;
    stream->have = left < sizeof stream->buffer ? (size_t)left : sizeof stream->buffer;
    return mglu_io_read_at(stream->path, stream->descriptor, stream->at, stream->buffer, stream->have);
}

mglu_status mglu_io_stream_take(struct mglu_io_stream *stream, void *bytes, size_t count)
{
    unsigned char *to = bytes;
    mglu_status status = need(stream, count);

    while (status == MGLU_OK && count > 0) {
        uint64_t past = stream->at - stream->first; /* a skip may have left the buffer */
        size_t ready = past < stream->have ? stream->have - (size_t)past : 0;

        if (ready == 0) {
            status = refill(stream);
            continue;
        }
        ready = ready < count ? ready : count;
        memcpy(to, stream->buffer + past, ready);
        stream->at += ready;
        to += ready;
        count -= ready;
    }
    return status;
}

mglu_status mglu_io_stream_skip(struct mglu_io_stream *stream, uint64_t count)
{
    mglu_status status = need(stream, count);

    if (status == MGLU_OK)
        stream->at += count;
    return status;
}

mglu_status mglu_io_stream_u32(struct mglu_io_stream *stream, uint32_t *value)
{
    return mglu_io_stream_take(stream, value, sizeof *value);
}

mglu_status mglu_io_stream_u64(struct mglu_io_stream *stream, uint64_t *value)
{
    return mglu_io_stream_take(stream, value, sizeof *value);
}

mglu_status mglu_io_stream_text(struct mglu_io_stream *stream, const char *what, size_t most, char **text)
{
    uint64_t length = 0;
    mglu_status status = mglu_io_stream_u64(stream, &length);

    *text = NULL;
    if (status != MGLU_OK)
        return status;
    if (length == 0 || length > most)
        return mglu_io_stream_fail(stream, "%s of %llu bytes, expected 1 to %zu", what, (unsigned long long)length,
                                   most);
    status = need(stream, length);
    if (status != MGLU_OK)
        return status;
    *text = calloc(length + 1, 1);
    if (!*text)
        return mglu_io_out_of_memory(stream->path);
    status = mglu_io_stream_take(stream, *text, length);
    if (status == MGLU_OK && strlen(*text) != length)
        status = mglu_io_stream_fail(stream, "%s contains a NUL byte", what);
    else if (status == MGLU_OK && !mglu_utf8_is_valid(*text, length))
        status = mglu_io_stream_fail(stream, "%s is not UTF-8", what);
    if (status != MGLU_OK) {
        free(*text);
        *text = NULL;
    }
    return status;
}
