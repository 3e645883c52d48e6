/* SPDX-License-Identifier: MIT */
#include "common/io/file.h"

#include "common/io/derived.h"
#include "common/io/foreign.h"
#include "common/io/gguf.h"
#include "common/io/gguf_stream.h"
#include "common/io/header.h"
#include "common/io/report.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "tensors are little-endian in files and used in place");

enum {
    KNOWN_FLAGS = MGLU_FILE_MMAP | MGLU_FILE_HEADER | MGLU_FILE_FUSED_HALVES | MGLU_FILE_FUSED_INTERLEAVED |
                  MGLU_FILE_IGNORE_UNREAD
};

/* Data smaller than a huge page is aligned to a cache line, for vector loads. */
enum { HUGE_PAGE = 2 * 1024 * 1024, SMALL_ALIGNMENT = 64 };

/* Linux reads at most 2^31 - 4096 bytes at once. */
enum { READ_AT_ONCE = 1 << 30 };

/* Opens a regular file. Non-blocking, so that a pipe is refused at once instead of blocking. */
static mglu_status open_regular(mglu_file *file, int *descriptor)
{
    struct stat about;
    int opened;

    do
        opened = open(file->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    while (opened < 0 && errno == EINTR);
    if (opened < 0)
        return mglu_io_system_error(file->path, "cannot open");
    if (fstat(opened, &about) != 0 || !S_ISREG(about.st_mode)) {
        close(opened);
        return mglu_io_fail(MGLU_ERROR_IO, file->path, NULL, "not a regular file");
    }
    *descriptor = opened;
    if (about.st_size >= MGLU_IO_LENGTH_BYTES && (uint64_t)about.st_size <= SIZE_MAX / 2) {
        file->size = (size_t)about.st_size;
        return MGLU_OK;
    }
    close(opened);
    return mglu_io_fail(MGLU_ERROR_CORRUPT_FILE, file->path, NULL, "%lld bytes are too %s for a safetensors file",
                        (long long)about.st_size, about.st_size < MGLU_IO_LENGTH_BYTES ? "few" : "many");
}

/* Reads the next `size` bytes of the file. */
static mglu_status read_bytes(const mglu_file *file, int descriptor, void *bytes, size_t size)
{
    size_t done = 0;

    while (done < size) {
        size_t count = size - done < READ_AT_ONCE ? size - done : READ_AT_ONCE;
        ssize_t got = read(descriptor, (char *)bytes + done, count);

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return mglu_io_system_error(file->path, "cannot read");
        if (got == 0)
            return mglu_io_fail(MGLU_ERROR_CORRUPT_FILE, file->path, NULL, "truncated while it was read");
        done += (size_t)got;
    }
    return MGLU_OK;
}

static mglu_status parse_header(mglu_file *file, int descriptor, size_t length)
{
    char *text = malloc(length + 1);
    mglu_status status;

    if (!text)
        return mglu_io_out_of_memory(file->path);
    status = read_bytes(file, descriptor, text, length);
    if (status == MGLU_OK)
        status = mglu_io_read_header(file, text, length);
    free(text); /* before the indices are made: the less memory is needed at once */
    return status == MGLU_OK ? mglu_io_index_header(file) : status;
}

static mglu_status read_header(mglu_file *file, int descriptor)
{
    unsigned char bytes[MGLU_IO_LENGTH_BYTES];
    size_t length = 0;
    mglu_status status = read_bytes(file, descriptor, bytes, sizeof bytes);

    if (status == MGLU_OK)
        status = mglu_io_header_length(file, bytes, &length);
    file->data_size = file->size - sizeof bytes - length;
    return status == MGLU_OK ? parse_header(file, descriptor, length) : status;
}

static mglu_status read_data(mglu_file *file, int descriptor)
{
    size_t size = file->data_size;

    if (posix_memalign(&file->memory, size < HUGE_PAGE ? SMALL_ALIGNMENT : HUGE_PAGE, size ? size : 1) != 0) {
        file->memory = NULL;
        return mglu_io_out_of_memory(file->path);
    }
#ifdef MADV_HUGEPAGE
    if (size >= HUGE_PAGE)
        madvise(file->memory, size / HUGE_PAGE * HUGE_PAGE, MADV_HUGEPAGE); /* advice: failure costs only speed */
#endif
    mglu_io_place_data(file, file->memory);
    return read_bytes(file, descriptor, file->memory, size);
}

static mglu_status map_data(mglu_file *file, int descriptor)
{
    void *memory = mmap(NULL, file->size, PROT_READ, MAP_PRIVATE, descriptor, 0);

    if (memory == MAP_FAILED)
        return mglu_io_system_error(file->path, "cannot map");
    file->memory = memory;
    file->mapped = 1;
    mglu_io_place_data(file, (const char *)memory + (file->size - file->data_size));
    return MGLU_OK;
}

/* Notes where the tensors are, which are in the order of their data, without gaps. */
static mglu_status locate_tensors(mglu_file *file)
{
    uint64_t offset = file->size - file->data_size;

    file->origins = malloc((file->tensor_count + 1) * sizeof *file->origins);
    if (!file->origins)
        return mglu_io_out_of_memory(file->path);
    for (size_t i = 0; i < file->tensor_count; i++) {
        file->origins[i] = (struct mglu_io_origin){.offset = offset, .stride = 1, .part = 1};
        offset += file->tensors[i].bytes;
    }
    mglu_io_place_data(file, NULL);
    return MGLU_OK;
}

/* The header is checked before there is memory for the data: a bad file costs no more than its header. */
static mglu_status load_safetensors(mglu_file *file, int descriptor, uint32_t flags)
{
    mglu_status status = read_header(file, descriptor);

    if (status == MGLU_OK && flags & MGLU_FILE_HEADER)
        status = locate_tensors(file);
    else if (status == MGLU_OK)
        status = flags & MGLU_FILE_MMAP ? map_data(file, descriptor) : read_data(file, descriptor);
    return status;
}

static mglu_status load_descriptor(mglu_file *file, int descriptor, uint32_t flags)
{
    unsigned char start[MGLU_IO_START_BYTES];
    size_t count = file->size < sizeof start ? file->size : sizeof start;
    mglu_status status = mglu_io_read_at(file->path, descriptor, 0, start, count);

    if (status == MGLU_OK && mglu_io_is_gguf(start, count))
        return mglu_io_gguf_load(file, descriptor, flags);
    if (status == MGLU_OK)
        status = mglu_io_refuse_foreign(file->path, start, count);
    return status == MGLU_OK ? load_safetensors(file, descriptor, flags) : status;
}

static mglu_status load(mglu_file *file, uint32_t flags)
{
    int descriptor = -1;
    mglu_status status = open_regular(file, &descriptor);

    if (status != MGLU_OK)
        return status;
    status = load_descriptor(file, descriptor, flags);
    if (status == MGLU_OK && flags & MGLU_FILE_HEADER)
        file->descriptor = descriptor; /* for mglu_file_read() */
    else
        close(descriptor);
    return status;
}

mglu_status mglu_io_check_flags(const char *function, uint32_t flags)
{
    if (flags & ~(uint32_t)KNOWN_FLAGS)
        return mglu_fail(MGLU_ERROR_INVALID_ARGUMENT, "%s: unknown flags %#x", function, flags);
    if (flags & MGLU_FILE_FUSED_HALVES && flags & MGLU_FILE_FUSED_INTERLEAVED)
        return mglu_fail(MGLU_ERROR_INVALID_ARGUMENT, "%s: rows are either halves or interleaved", function);
    return MGLU_OK;
}

mglu_file *mglu_io_file_create(const char *path, uint32_t flags)
{
    mglu_file *file = calloc(1, sizeof *file);

    if (file) {
        file->flags = flags;
        file->descriptor = -1;
        file->path = strdup(path);
        file->derived = mglu_io_derived_create();
    }
    if (file && (!file->path || !file->derived))
        mglu_file_close(&file);
    if (!file)
        mglu_io_out_of_memory(path);
    return file;
}

mglu_status mglu_io_file_load(const char *path, uint32_t flags, mglu_file **file)
{
    mglu_status status;

    *file = mglu_io_file_create(path, flags);
    if (!*file)
        return MGLU_ERROR_OUT_OF_MEMORY;
    status = load(*file, flags);
    if (status != MGLU_OK)
        mglu_file_close(file);
    return status;
}

mglu_status mglu_file_open(const char *path, uint32_t flags, mglu_file **file)
{
    mglu_status status;

    if (!file)
        return mglu_fail(MGLU_ERROR_INVALID_ARGUMENT, "mglu_file_open: file is NULL");
    *file = NULL;
    if (!path)
        return mglu_fail(MGLU_ERROR_INVALID_ARGUMENT, "mglu_file_open: path is NULL");
    status = mglu_io_check_flags("mglu_file_open", flags);
    if (status == MGLU_OK)
        status = mglu_io_file_load(path, flags, file);
    if (status == MGLU_OK)
        status = mglu_io_list_layers(*file);
    if (status != MGLU_OK)
        mglu_file_close(file);
    return status;
}

void mglu_file_close(mglu_file **file)
{
    if (!file || !*file)
        return;
    if ((*file)->mapped)
        munmap((*file)->memory, (*file)->size);
    else
        free((*file)->memory);
    if ((*file)->descriptor >= 0)
        close((*file)->descriptor);
    for (size_t i = 0; i < (*file)->shard_count; i++)
        mglu_file_close(&(*file)->shards[i]);
    free((*file)->shards);
    free((*file)->origins);
    mglu_io_gguf_free(*file);
    mglu_io_derived_destroy((*file)->derived);
    mglu_io_index_clear(&(*file)->by_name);
    mglu_io_index_clear(&(*file)->by_key);
    free((*file)->layers);
    free((*file)->layer_texts);
    free((*file)->metadata);
    free((*file)->tensors);
    free((*file)->dims);
    free((*file)->texts);
    free((*file)->path);
    free(*file);
    *file = NULL;
}

const char *mglu_file_path(const mglu_file *file)
{
    return file ? file->path : NULL;
}

size_t mglu_file_tensor_count(const mglu_file *file)
{
    return file ? file->tensor_count : 0;
}

const mglu_file_tensor *mglu_file_tensor_at(const mglu_file *file, size_t index)
{
    return file && index < file->tensor_count ? &file->tensors[index] : NULL;
}

const mglu_file_tensor *mglu_file_find(const mglu_file *file, const char *name)
{
    return file && name ? mglu_io_index_find(&file->by_name, &(struct mglu_io_name){{name}}) : NULL;
}

const char *mglu_file_metadata(const mglu_file *file, const char *key)
{
    const struct mglu_io_metadata *found =
        file && key ? mglu_io_index_find(&file->by_key, &(struct mglu_io_name){{key}}) : NULL;

    return found ? found->value : NULL;
}

const char *mglu_file_metadata_key(const mglu_file *file, size_t index)
{
    return file && index < file->metadata_count ? file->metadata[index].key : NULL;
}
