/* SPDX-License-Identifier: MIT */
#include "common/dispatch/objects.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/*
 * dlopen() maps a file and trusts its tables: where the file is shorter than they say, the first access behind its end
 * raises SIGBUS. So the tables are read here first, with pread(), and compared with the size of the file. This finds
 * incomplete copies; it is no defence against a hostile file, whose code would run anyway.
 */

struct object {
    const char *path;
    int file;
    uint64_t size;
};

static mglu_status fail_truncated(const struct object *object, const char *what, uint64_t index, uint64_t at,
                                  uint64_t size)
{
    return mglu_fail(MGLU_ERROR_CORRUPT_FILE, "%s: truncated: %s %llu needs %llu bytes at %llu, the file has %llu",
                     object->path, what, (unsigned long long)index, (unsigned long long)size, (unsigned long long)at,
                     (unsigned long long)object->size);
}

static int fits(const struct object *object, uint64_t at, uint64_t size)
{
    return at <= object->size && size <= object->size - at;
}

/* Reads entry `index` of a table at `table`. */
static mglu_status read_entry(const struct object *object, const char *what, uint64_t table, uint64_t index,
                              void *entry, size_t size)
{
    uint64_t at = table + index * size;
    ssize_t got;

    if (!fits(object, at, size))
        return fail_truncated(object, what, index, at, size);
    for (size_t done = 0; done<size; done += got> 0 ? (size_t)got : 0) {
        got = pread(object->file, (char *)entry + done, size - done, (off_t)(at + done));
        if (got == 0)
            return fail_truncated(object, what, index, at, size);
        if (got < 0 && errno != EINTR)
            return mglu_fail(MGLU_ERROR_IO, "%s: cannot be read: %s", object->path, strerror(errno));
    }
    return MGLU_OK;
}

static int is_shared_object(const Elf64_Ehdr *header)
{
    return memcmp(header->e_ident, ELFMAG, SELFMAG) == 0 && header->e_ident[EI_CLASS] == ELFCLASS64 &&
           header->e_type == ET_DYN && header->e_phentsize == sizeof(Elf64_Phdr);
}

static mglu_status check_segments(const struct object *object, const Elf64_Ehdr *header)
{
    mglu_status status = MGLU_OK;
    Elf64_Phdr segment;

    for (uint64_t i = 0; i < header->e_phnum && status == MGLU_OK; i++) {
        status = read_entry(object, "segment header", header->e_phoff, i, &segment, sizeof segment);
        if (status == MGLU_OK && !fits(object, segment.p_offset, segment.p_filesz))
            status = fail_truncated(object, "segment", i, segment.p_offset, segment.p_filesz);
    }
    return status;
}

/* The loader reads no sections, but they end a complete file: an incomplete copy most often lacks some of them. */
static mglu_status check_sections(const struct object *object, const Elf64_Ehdr *header)
{
    mglu_status status = MGLU_OK;
    Elf64_Shdr section;

    if (header->e_shentsize != sizeof section)
        return MGLU_OK;
    for (uint64_t i = 0; i < header->e_shnum && status == MGLU_OK; i++) {
        status = read_entry(object, "section header", header->e_shoff, i, &section, sizeof section);
        if (status == MGLU_OK && section.sh_type != SHT_NOBITS && !fits(object, section.sh_offset, section.sh_size))
            status = fail_truncated(object, "section", i, section.sh_offset, section.sh_size);
    }
    return status;
}

static mglu_status check_object(const struct object *object)
{
    mglu_status status;
    Elf64_Ehdr header;

    if (object->size < sizeof header)
        return mglu_fail(MGLU_ERROR_IO, "%s: has %llu bytes; expected a shared object", object->path,
                         (unsigned long long)object->size);
    status = read_entry(object, "ELF header", 0, 0, &header, sizeof header);
    if (status == MGLU_OK && !is_shared_object(&header))
        status = mglu_fail(MGLU_ERROR_IO, "%s: is not an ELF shared object of this machine", object->path);
    if (status == MGLU_OK)
        status = check_segments(object, &header);
    return status == MGLU_OK ? check_sections(object, &header) : status;
}

mglu_status mglu_shared_object_check(const char *path)
{
    /* O_NONBLOCK: a FIFO without a writer must not wait. */
    struct object object = {path, -1, 0};
    struct stat stat;
    mglu_status status;

    do
        object.file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    while (object.file < 0 && errno == EINTR);
    if (object.file < 0)
        return mglu_fail(MGLU_ERROR_IO, "%s: cannot load a backend: %s", path, strerror(errno));
    if (fstat(object.file, &stat) != 0)
        status = mglu_fail(MGLU_ERROR_IO, "%s: cannot load a backend: %s", path, strerror(errno));
    else if (!S_ISREG(stat.st_mode))
        status = mglu_fail(MGLU_ERROR_IO, "%s: is not a regular file; expected a shared object", path);
    else {
        object.size = (uint64_t)stat.st_size;
        status = check_object(&object);
    }
    close(object.file);
    return status;
}
