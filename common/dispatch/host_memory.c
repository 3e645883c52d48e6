/* SPDX-License-Identifier: MIT */
#include "common/dispatch/objects.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* Allocations aligned to a huge page should use huge pages. */
#define HUGE_PAGE ((size_t)2 << 20)

/* In pages of 4 KiB, so little costs no time that could be measured. */
#define LITTLE (HUGE_PAGE / 16)

size_t mglu_size_in_huge_pages(size_t size)
{
    const size_t rest = size % HUGE_PAGE, added = HUGE_PAGE - rest;

    return rest >= LITTLE && added <= size / 8 && size <= SIZE_MAX - added ? size + added : size;
}

static void *default_allocate(void *user, size_t size, size_t alignment)
{
    const size_t taken = alignment >= HUGE_PAGE ? mglu_size_in_huge_pages(size) : size;
    void *memory;

    if (posix_memalign(&memory, alignment < sizeof(void *) ? sizeof(void *) : alignment, taken) != 0)
        return NULL;
#ifdef MADV_HUGEPAGE
    if (alignment >= HUGE_PAGE)
        (void)madvise(memory, taken / HUGE_PAGE * HUGE_PAGE, MADV_HUGEPAGE); /* advice: a refusal costs only speed */
#endif
    return memory;
}

static void default_release(void *user, void *memory, size_t size, size_t alignment)
{
    free(memory);
}

const mglu_allocator mglu_default_allocator = {.allocate = default_allocate, .release = default_release};

void *mglu_host_allocate(const mglu_context *context, size_t size, size_t alignment)
{
    const mglu_allocator *allocator = &context->host.allocator;

    return allocator->allocate(allocator->user, size, alignment);
}

void mglu_host_release(const mglu_context *context, void *memory, size_t size, size_t alignment)
{
    const mglu_allocator *allocator = &context->host.allocator;

    if (memory)
        allocator->release(allocator->user, memory, size, alignment);
}

mglu_status mglu_list_append(const mglu_context *context, struct pointer_list *list, void *item)
{
    if (list->count == list->capacity) {
        size_t capacity = 2 * list->capacity + 4;
        void **items = mglu_host_allocate(context, capacity * sizeof(void *), _Alignof(void *));

        if (!items)
            return mglu_fail(MGLU_ERROR_OUT_OF_MEMORY, "out of memory");
        if (list->count)
            memcpy(items, list->items, list->count * sizeof(void *));
        mglu_list_free(context, list);
        list->items = items;
        list->capacity = capacity;
    }
    list->items[list->count++] = item;
    return MGLU_OK;
}

void mglu_list_free(const mglu_context *context, struct pointer_list *list)
{
    mglu_host_release(context, list->items, list->capacity * sizeof(void *), _Alignof(void *));
    list->items = NULL;
    list->capacity = 0;
}
