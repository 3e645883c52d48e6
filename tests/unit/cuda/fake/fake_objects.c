/* SPDX-License-Identifier: MIT */
#include "fake_state.h"

#include <stdlib.h>
#include <string.h>

/* The objects that the driver has given out and must get back. */

enum { MEMORY_ALIGNMENT = 256, POISON = 0xff };

const struct thing *fake_holder_of(const struct thing *thing, const char *address, size_t size)
{
    for (; thing; thing = thing->next)
        if (address >= thing->data && size <= thing->size && address - thing->data <= (ptrdiff_t)(thing->size - size))
            return thing;
    return NULL;
}

void *fake_take(struct thing **list, size_t size)
{
    struct thing *thing = malloc(sizeof *thing);

    *thing = (struct thing){
        .data = aligned_alloc(MEMORY_ALIGNMENT, (size + MEMORY_ALIGNMENT - 1) / MEMORY_ALIGNMENT * MEMORY_ALIGNMENT),
        .size = size};
    memset(thing->data, POISON, size);
    pthread_mutex_lock(&fake.lock);
    thing->next = *list;
    *list = thing;
    pthread_mutex_unlock(&fake.lock);
    return thing->data;
}

CUresult fake_give(struct thing **list, const void *data, CUresult result)
{
    CUresult found = CUDA_ERROR_INVALID_VALUE;

    pthread_mutex_lock(&fake.lock);
    for (; *list; list = &(*list)->next) {
        struct thing *thing = *list;

        if (thing->data != data)
            continue;
        *list = thing->next;
        free(thing->data);
        free(thing);
        found = CUDA_SUCCESS;
        break;
    }
    pthread_mutex_unlock(&fake.lock);
    return result == CUDA_SUCCESS ? found : result;
}

static void free_all(struct thing **list)
{
    while (*list)
        fake_give(list, (*list)->data, CUDA_SUCCESS);
}

EXPORT void fake_forget(void)
{
    fake_end_work();
    free_all(&fake.allocations);
    free_all(&fake.host_allocations);
    free_all(&fake.streams);
    free_all(&fake.modules);
    memset(fake.contexts_retained, 0, sizeof fake.contexts_retained);
}

static int count_things(const struct thing *thing)
{
    int count = 0;

    for (; thing; thing = thing->next)
        count++;
    return count;
}

EXPORT struct fake_balance fake_balance(void)
{
    struct fake_balance balance = {
        .allocations = count_things(fake.allocations),
        .host_allocations = count_things(fake.host_allocations),
        .streams = count_things(fake.streams),
        .modules = count_things(fake.modules),
        .pushed = fake_depth,
    };

    for (int i = 0; i < FAKE_MOST_DEVICES; i++)
        balance.contexts += fake.contexts_retained[i];
    return balance;
}

EXPORT size_t fake_device_bytes(void)
{
    size_t bytes = 0;

    for (const struct thing *thing = fake.allocations; thing; thing = thing->next)
        bytes += thing->size;
    return bytes;
}

EXPORT const void *fake_device_memory(CUdeviceptr address, size_t *size)
{
    const struct thing *thing = fake_holder_of(fake.allocations, (const char *)(uintptr_t)address, 0);

    *size = thing ? thing->size : 0;
    return thing ? thing->data : NULL;
}
