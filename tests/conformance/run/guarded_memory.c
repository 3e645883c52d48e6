/* SPDX-License-Identifier: MIT */
#include "run/guarded_memory.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { NAN_BYTE = 0xff };

/* Where a block begins in its pages, not counting the guard pages. */
static size_t offset_in_pages(size_t size, size_t alignment, size_t *pages_size)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);

    *pages_size = (size + page - 1) / page * page;
    return (*pages_size - size) / alignment * alignment;
}

/* Maps `size` bytes without access, of which those behind the first page begin at a multiple of `alignment`. */
static unsigned char *map_aligned(size_t size, size_t alignment, size_t page)
{
    size_t spare = alignment > page ? alignment : 0;
    unsigned char *map = mmap(NULL, size + spare, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    size_t lead;

    if (map == MAP_FAILED || !spare)
        return map;
    lead = (alignment - ((uintptr_t)map + page) % alignment) % alignment;
    if (lead)
        munmap(map, lead);
    if (spare > lead)
        munmap(map + lead + size, spare - lead);
    return map + lead;
}

static void *guarded_allocate(void *user, size_t size, size_t alignment)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), pages_size, offset = offset_in_pages(size, alignment, &pages_size);
    unsigned char *map = map_aligned(pages_size + 2 * page, alignment, page);

    if (map == MAP_FAILED)
        return NULL;
    if (mprotect(map + page, pages_size, PROT_READ | PROT_WRITE) != 0) {
        munmap(map, pages_size + 2 * page);
        return NULL;
    }
    memset(map + page, NAN_BYTE, pages_size);
    return map + page + offset;
}

static void guarded_release(void *user, void *memory, size_t size, size_t alignment)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), pages_size, offset = offset_in_pages(size, alignment, &pages_size);

    munmap((unsigned char *)memory - offset - page, pages_size + 2 * page);
}

const mglu_allocator guarded_memory = {NULL, guarded_allocate, guarded_release};
