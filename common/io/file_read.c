/* SPDX-License-Identifier: MIT */
#include "common/io/file.h"
#include "common/io/gguf_stream.h"
#include "common/io/report.h"

#include <string.h>

/* Bytes of blocks that are read at once. */
enum { BLOCKS = 16 * 1024 };

/* The file that a tensor is in: a shard, or the file itself. */
static const mglu_file *file_of(const mglu_file *file, const struct mglu_io_origin *origin)
{
    return file->shards ? file->shards[origin->shard] : file;
}

/* Reads bytes that are not in one piece: quants without the scales between them, or the reverse. */
static mglu_status read_parts(const mglu_file *file, const struct mglu_io_origin *origin, size_t offset,
                              unsigned char *bytes, size_t size)
{
    unsigned char blocks[BLOCKS];
    size_t part = origin->part, stride = origin->stride, most = BLOCKS / stride;
    mglu_status status = MGLU_OK;

    while (size > 0 && status == MGLU_OK) {
        size_t first = offset / part, skip = offset % part, count = (skip + size - 1) / part + 1;

        count = count < most ? count : most;
        status = mglu_io_read_at(file->path, file->descriptor, origin->offset + (uint64_t)first * stride, blocks,
                                 (count - 1) * stride + part);
        for (size_t i = 0; i < count && status == MGLU_OK; i++) {
            size_t now = part - skip < size ? part - skip : size;

            memcpy(bytes, blocks + i * stride + skip, now);
            bytes += now;
            offset += now;
            size -= now;
            skip = 0;
        }
    }
    return status;
}

mglu_status mglu_file_read(const mglu_file *file, const mglu_file_tensor *tensor, size_t offset, void *bytes,
                           size_t size)
{
    const mglu_file_tensor *own = file && tensor ? mglu_file_find(file, tensor->name) : NULL;
    const struct mglu_io_origin *origin;

    if (!own || (!bytes && size))
        return mglu_fail(MGLU_ERROR_INVALID_ARGUMENT, "mglu_file_read: file, tensor or bytes is NULL, or the tensor is "
                                                      "of another file");
    if (offset > own->bytes || size > own->bytes - offset)
        return mglu_io_fail(MGLU_ERROR_INVALID_ARGUMENT, file->path, own->name,
                            "%zu bytes from byte %zu on are to be read, it has %zu", size, offset, own->bytes);
    if (size == 0)
        return MGLU_OK;
    if (!file->origins) {
        memcpy(bytes, (const unsigned char *)own->data + offset, size);
        return MGLU_OK;
    }
    origin = &file->origins[own - file->tensors];
    file = file_of(file, origin);
    if (origin->stride != origin->part)
        return read_parts(file, origin, offset, bytes, size);
    return mglu_io_read_at(file->path, file->descriptor, origin->offset + offset, bytes, size);
}
