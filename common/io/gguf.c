/* SPDX-License-Identifier: MIT */
#include "common/io/gguf.h"

#include "common/core/ggml_block.h"
#include "common/io/gguf_check.h"
#include "common/io/gguf_header.h"
#include "common/io/gguf_present.h"
#include "common/io/gguf_stream.h"
#include "common/io/gguf_types.h"
#include "common/io/report.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

/* Data in memory begins at cache lines. */
enum { ALIGNMENT = 64 };

/* Blocks that are read at once. */
enum { BLOCKS_AT_ONCE = 2048 };

int mglu_io_is_gguf(const unsigned char *start, size_t count)
{
    static const char magic[4] = {'G', 'G', 'U', 'F'};

    return count >= sizeof magic && memcmp(start, magic, sizeof magic) == 0;
}

static int is_quantised(const struct mglu_io_gguf_tensor *tensor)
{
    mglu_dtype dtype;

    return mglu_io_ggml_dtype(tensor->type, &dtype) && mglu_dtype_is_quantised(dtype);
}

/* Whether a tensor has memory of its own. */
static int is_copied(const mglu_file *file, const struct mglu_io_gguf_tensor *tensor)
{
    return tensor->wanted && (!file->mapped || is_quantised(tensor));
}

static size_t room_for(const struct mglu_io_gguf_tensor *tensor)
{
    return (size_t)(tensor->bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

/* Reads blocks and takes them apart: all quants, then all scales. */
static mglu_status read_blocks(const mglu_file *file, int descriptor, struct mglu_io_gguf_tensor *tensor,
                               unsigned char *memory)
{
    mglu_dtype dtype = MGLU_DTYPE_Q8_0;
    size_t block, count, quant_bytes;
    unsigned char *blocks;
    mglu_status status = MGLU_OK;

    mglu_io_ggml_dtype(tensor->type, &dtype);
    block = mglu_ggml_block_bytes(dtype);
    quant_bytes = mglu_ggml_quant_bytes(dtype);
    count = (size_t)tensor->bytes / block;
    blocks = malloc(BLOCKS_AT_ONCE * block);
    if (!blocks)
        return mglu_io_out_of_memory(file->path);
    tensor->data = memory;
    tensor->scales = memory + count * quant_bytes;
    for (size_t i = 0; i < count && status == MGLU_OK; i += BLOCKS_AT_ONCE) {
        size_t part = count - i < BLOCKS_AT_ONCE ? count - i : BLOCKS_AT_ONCE;

        status = mglu_io_read_at(file->path, descriptor, tensor->offset + i * block, blocks, part * block);
        if (status == MGLU_OK)
            mglu_ggml_split(dtype, blocks, part, memory + i * quant_bytes,
                            memory + count * quant_bytes + i * MGLU_GGML_SCALE_BYTES);
    }
    free(blocks);
    return status;
}

static mglu_status read_tensor(const mglu_file *file, int descriptor, struct mglu_io_gguf_tensor *tensor,
                               unsigned char *memory)
{
    if (is_quantised(tensor))
        return read_blocks(file, descriptor, tensor, memory);
    tensor->data = memory;
    return mglu_io_read_at(file->path, descriptor, tensor->offset, memory, (size_t)tensor->bytes);
}

/* Only the layers' tensors are read: the rest of a model is not needed. */
static mglu_status read_data(mglu_file *file, int descriptor)
{
    struct mglu_io_gguf *gguf = file->gguf;
    size_t total = 0;
    unsigned char *memory;
    mglu_status status = MGLU_OK;

    for (size_t i = 0; i < gguf->tensor_count; i++)
        total += is_copied(file, &gguf->tensors[i]) ? room_for(&gguf->tensors[i]) : 0;
    if (posix_memalign(&gguf->memory, ALIGNMENT, total ? total : ALIGNMENT) != 0) {
        gguf->memory = NULL;
        return mglu_io_out_of_memory(file->path);
    }
    memory = gguf->memory;
    for (size_t i = 0; i < gguf->tensor_count && status == MGLU_OK; i++) {
        struct mglu_io_gguf_tensor *tensor = &gguf->tensors[i];

        if (is_copied(file, tensor)) {
            status = read_tensor(file, descriptor, tensor, memory);
            memory += room_for(tensor);
        } else if (tensor->wanted) {
            tensor->data = (const unsigned char *)file->memory + tensor->offset;
        }
    }
    return status;
}

static mglu_status map(mglu_file *file, int descriptor)
{
    void *memory = mmap(NULL, file->size, PROT_READ, MAP_PRIVATE, descriptor, 0);

    if (memory == MAP_FAILED)
        return errno == ENOMEM ? mglu_io_out_of_memory(file->path) : mglu_io_system_error(file->path, "cannot map");
    file->memory = memory;
    file->mapped = 1;
    return MGLU_OK;
}

mglu_status mglu_io_gguf_load(mglu_file *file, int descriptor, uint32_t flags)
{
    mglu_status status;

    file->gguf = calloc(1, sizeof *file->gguf);
    if (!file->gguf)
        return mglu_io_out_of_memory(file->path);
    status = mglu_io_gguf_read_header(file->path, descriptor, file->size, file->gguf);
    if (status == MGLU_OK)
        status = mglu_io_gguf_check_layers(file->path, file->gguf);
    if (status == MGLU_OK && flags & MGLU_FILE_MMAP && !(flags & MGLU_FILE_HEADER))
        status = map(file, descriptor);
    if (status == MGLU_OK && !(flags & MGLU_FILE_HEADER))
        status = read_data(file, descriptor);
    return status == MGLU_OK ? mglu_io_gguf_present(file->gguf, file) : status;
}

void mglu_io_gguf_free(mglu_file *file)
{
    if (file->gguf)
        mglu_io_gguf_clear(file->gguf);
    free(file->gguf);
    file->gguf = NULL;
}
