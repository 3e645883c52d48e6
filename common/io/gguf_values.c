/* SPDX-License-Identifier: MIT */
#include "common/io/gguf_values.h"

/* Arrays within arrays; the walk is recursive. */
enum { MAX_DEPTH = 8 };

/* Bytes of a value by its type; a string and an array begin with their length. */
static const unsigned char value_bytes[] = {1, 1, 2, 2, 4, 4, 4, 1, 8, 8, 8, 8, 8};

static mglu_status skip_values(struct mglu_io_stream *stream, uint32_t type, uint64_t count, int depth);

static mglu_status skip_string(struct mglu_io_stream *stream)
{
    uint64_t length = 0;
    mglu_status status = mglu_io_stream_u64(stream, &length);

    return status == MGLU_OK ? mglu_io_stream_skip(stream, length) : status;
}

static mglu_status skip_array(struct mglu_io_stream *stream, int depth)
{
    uint32_t type = 0;
    uint64_t count = 0;
    mglu_status status = mglu_io_stream_u32(stream, &type);

    if (status == MGLU_OK)
        status = mglu_io_stream_u64(stream, &count);
    if (status == MGLU_OK && depth == MAX_DEPTH)
        return mglu_io_stream_fail(stream, "arrays are nested deeper than %d levels", MAX_DEPTH);
    return status == MGLU_OK ? skip_values(stream, type, count, depth + 1) : status;
}

/* Each value has at least its bytes of the header, so that a wrong count ends quickly. */
static mglu_status skip_values(struct mglu_io_stream *stream, uint32_t type, uint64_t count, int depth)
{
    mglu_status status = MGLU_OK;

    if (type >= sizeof value_bytes)
        return mglu_io_stream_fail(stream, "a value of the unknown type %u", type);
    if (count > mglu_io_stream_left(stream) / value_bytes[type])
        return mglu_io_stream_fail(stream, "%llu values, but only %llu bytes follow", (unsigned long long)count,
                                   (unsigned long long)mglu_io_stream_left(stream));
    if (type != MGLU_IO_GGUF_STRING && type != MGLU_IO_GGUF_ARRAY)
        return mglu_io_stream_skip(stream, count * value_bytes[type]);
    for (uint64_t i = 0; i < count && status == MGLU_OK; i++)
        status = type == MGLU_IO_GGUF_STRING ? skip_string(stream) : skip_array(stream, depth);
    return status;
}

mglu_status mglu_io_gguf_skip_value(struct mglu_io_stream *stream, uint32_t type)
{
    return skip_values(stream, type, 1, 0);
}
