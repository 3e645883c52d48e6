/* SPDX-License-Identifier: MIT */
#ifndef MGLU_CORE_STRUCTS_H
#define MGLU_CORE_STRUCTS_H

#include <mglu/types.h>
#include <mglu/version.h>

#include <string.h>

/* Implements the rule of mglu/mglu.h for structs whose first member is the caller's sizeof. */

static inline uint32_t mglu_struct_size(const void *object)
{
    uint32_t size;

    memcpy(&size, object, sizeof size);
    return size;
}

/* Copies a caller's struct of any version: missing members become zero, unknown ones must be zero. */
static inline mglu_status mglu_struct_read(const char *name, void *target, size_t target_size, const void *source)
{
    uint32_t size, own = (uint32_t)target_size;

    if (!source)
        return mglu_fail(MGLU_ERROR_INVALID_ARGUMENT, "%s is NULL", name);
    size = mglu_struct_size(source);
    if (size < sizeof size)
        return mglu_fail(MGLU_ERROR_INVALID_ARGUMENT, "%s: struct_size is %u; set it to sizeof(%s)", name, size, name);
    for (size_t i = target_size; i < size; i++)
        if (((const unsigned char *)source)[i] != 0)
            return mglu_fail(MGLU_ERROR_VERSION_MISMATCH, "%s has %u bytes, this library (%s) knows %zu", name, size,
                             mglu_version(), target_size);
    memset(target, 0, target_size);
    memcpy(target, source, size < target_size ? size : target_size);
    memcpy(target, &own, sizeof own);
    return MGLU_OK;
}

/* Fills a caller's struct of any version, whose struct_size it has set. */
static inline mglu_status mglu_struct_write(const char *name, void *target, const void *source, size_t source_size)
{
    uint32_t size;

    if (!target)
        return mglu_fail(MGLU_ERROR_INVALID_ARGUMENT, "%s is NULL", name);
    size = mglu_struct_size(target);
    if (size < sizeof size)
        return mglu_fail(MGLU_ERROR_INVALID_ARGUMENT, "%s: struct_size is %u; set it to sizeof(%s)", name, size, name);
    if (size > source_size)
        memset((unsigned char *)target + source_size, 0, size - source_size);
    memcpy((unsigned char *)target + sizeof size, (const unsigned char *)source + sizeof size,
           (size < source_size ? size : source_size) - sizeof size);
    return MGLU_OK;
}

#endif
