/* SPDX-License-Identifier: MIT */
#include "memory_functions.h"

#include <errno.h>
#include <stdlib.h>

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *memory, size_t size);
extern void *__libc_memalign(size_t alignment, size_t size);

atomic_long allocations;
atomic_int allocations_are_refused;

static int is_refused(void)
{
    atomic_fetch_add(&allocations, 1);
    return atomic_load(&allocations_are_refused);
}

void *malloc(size_t size)
{
    return is_refused() ? NULL : __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
    return is_refused() ? NULL : __libc_calloc(count, size);
}

void *realloc(void *memory, size_t size)
{
    return is_refused() ? NULL : __libc_realloc(memory, size);
}

void *aligned_alloc(size_t alignment, size_t size)
{
    return is_refused() ? NULL : __libc_memalign(alignment, size);
}

int posix_memalign(void **memory, size_t alignment, size_t size)
{
    *memory = is_refused() ? NULL : __libc_memalign(alignment, size);
    return *memory ? 0 : ENOMEM;
}
