/* SPDX-License-Identifier: MIT */
#include "common/dispatch/objects.h"

#include <mglu/version.h>

#include <string.h>

static uint32_t struct_size_of(const void *object)
{
    uint32_t size;

    memcpy(&size, object, sizeof size);
    return size;
}

mglu_status mglu_struct_read(const char *name, void *target, size_t target_size, const void *source)
{
    uint32_t size, own = (uint32_t)target_size;

    if (!source)
        return mglu_fail(MGLU_ERROR_INVALID_ARGUMENT, "%s is NULL", name);
    size = struct_size_of(source);
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

mglu_status mglu_struct_write(const char *name, void *target, const void *source, size_t source_size)
{
    uint32_t size;

    if (!target)
        return mglu_fail(MGLU_ERROR_INVALID_ARGUMENT, "%s is NULL", name);
    size = struct_size_of(target);
    if (size < sizeof size)
        return mglu_fail(MGLU_ERROR_INVALID_ARGUMENT, "%s: struct_size is %u; set it to sizeof(%s)", name, size, name);
    if (size > source_size)
        memset((unsigned char *)target + source_size, 0, size - source_size);
    memcpy((unsigned char *)target + sizeof size, (const unsigned char *)source + sizeof size,
           (size < source_size ? size : source_size) - sizeof size);
    return MGLU_OK;
}
