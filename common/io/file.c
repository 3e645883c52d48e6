/* SPDX-License-Identifier: MIT */
#include "common/io/file.h"

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

/* Files smaller than a huge page are aligned to a cache line, for vector loads. */
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

/* Reads the bytes from `first` up to `end` to their place. */
static mglu_status read_bytes(mglu_file *file, int descriptor, size_t first, size_t end)
{
    while (first < end) {
        size_t count = end - first < READ_AT_ONCE ? end - first : READ_AT_ONCE;
        ssize_t got = read(descriptor, file->bytes + first, count);

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return mglu_io_system_error(file->path, "cannot read");
        if (got == 0)
            return mglu_io_fail(MGLU_ERROR_IO, file->path, NULL, "truncated while it was read: %zu of %zu bytes", first,
                                file->size);
        first += (size_t)got;
    }
    return MGLU_OK;
}

/* The header is checked before the data is read: a bad file costs no more than its header. */
static mglu_status read_file(mglu_file *file, int descriptor)
{
    void *memory;
    size_t length = 0;
    mglu_status status;

    if (posix_memalign(&memory, file->size < HUGE_PAGE ? SMALL_ALIGNMENT : HUGE_PAGE, file->size) != 0)
        return mglu_io_out_of_memory(file->path);
    file->bytes = memory;
#ifdef MADV_HUGEPAGE
    if (file->size >= HUGE_PAGE)
        madvise(memory, file->size / HUGE_PAGE * HUGE_PAGE, MADV_HUGEPAGE); /* advice: failure costs only speed */
#endif
    status = read_bytes(file, descriptor, 0, MGLU_IO_LENGTH_BYTES);
    if (status == MGLU_OK)
        status = mglu_io_header_length(file, &length);
    if (status == MGLU_OK)
        status = read_bytes(file, descriptor, MGLU_IO_LENGTH_BYTES, MGLU_IO_LENGTH_BYTES + length);
    if (status == MGLU_OK)
        status = mglu_io_read_header(file, length);
    if (status == MGLU_OK)
        status = read_bytes(file, descriptor, MGLU_IO_LENGTH_BYTES + length, file->size);
    return status;
}

static mglu_status map_file(mglu_file *file, int descriptor)
{
    size_t length;
    mglu_status status;
    void *memory = mmap(NULL, file->size, PROT_READ, MAP_PRIVATE, descriptor, 0);

    if (memory == MAP_FAILED)
        return mglu_io_system_error(file->path, "cannot map");
    file->bytes = memory;
    file->mapped = 1;
    status = mglu_io_header_length(file, &length);
    return status == MGLU_OK ? mglu_io_read_header(file, length) : status;
}

static mglu_status load(mglu_file *file, uint32_t flags)
{
    int descriptor = -1;
    mglu_status status = open_regular(file, &descriptor);

    if (status != MGLU_OK)
        return status;
    status = flags & MGLU_FILE_MMAP ? map_file(file, descriptor) : read_file(file, descriptor);
    close(descriptor);
    return status == MGLU_OK ? mglu_io_list_layers(file) : status;
}

mglu_status mglu_file_open(const char *path, uint32_t flags, mglu_file **file)
{
    mglu_file *opened;
    mglu_status status;

    if (!file)
        return mglu_fail(MGLU_ERROR_INVALID_ARGUMENT, "mglu_file_open: file is NULL");
    *file = NULL;
    if (!path)
        return mglu_fail(MGLU_ERROR_INVALID_ARGUMENT, "mglu_file_open: path is NULL");
    if (flags & ~(uint32_t)MGLU_FILE_MMAP)
        return mglu_fail(MGLU_ERROR_INVALID_ARGUMENT, "mglu_file_open: unknown flags %#x", flags);
    opened = calloc(1, sizeof *opened);
    if (!opened)
        return mglu_io_out_of_memory(path);
    opened->path = strdup(path);
    status = opened->path ? load(opened, flags) : mglu_io_out_of_memory(path);
    if (status != MGLU_OK)
        mglu_file_close(&opened);
    *file = opened;
    return status;
}

void mglu_file_close(mglu_file **file)
{
    if (!file || !*file)
        return;
    if ((*file)->mapped)
        munmap((*file)->bytes, (*file)->size);
    else
        free((*file)->bytes);
    mglu_io_index_clear(&(*file)->by_name);
    mglu_io_index_clear(&(*file)->by_key);
    free((*file)->layers);
    free((*file)->layer_texts);
    free((*file)->metadata);
    free((*file)->tensors);
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
