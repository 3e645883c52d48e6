/* SPDX-License-Identifier: MIT */
#ifndef MGLU_CORE_STRUCTS_H
#define MGLU_CORE_STRUCTS_H

#include <mglu/types.h>
#include <mglu/version.h>

#include <string.h>

/* Implements the rule of mglu/mglu.h for structs whose first member is the caller's sizeof. */

/* sizeof of a struct in the first version, which ended with the member `last`. Later members come behind it. */
#define MGLU_FIRST_SIZE(type, last)                                                                                    \
    ((offsetof(type, last) + sizeof(((type *)0)->last) + _Alignof(type) - 1) / _Alignof(type) * _Alignof(type))

static inline uint32_t mglu_struct_size(const void *object)
{
    uint32_t size;

    memcpy(&size, object, sizeof size);
    return size;
}

/* A size that no version has comes from a member that was not set: nothing else of the struct can be trusted. */
static inline mglu_status mglu_struct_check(const char *name, const void *object, size_t first_size)
{
    uint32_t size;

    if (!object)
        return mglu_fail(MGLU_ERROR_INVALID_ARGUMENT, "%s is NULL", name);
    size = mglu_struct_size(object);
    if (size < first_size || size > MGLU_MAX_STRUCT_SIZE)
        return mglu_fail(MGLU_ERROR_INVALID_ARGUMENT, "%s: struct_size is %u, must be %zu..%d; set it to sizeof(%s)",
                         name, size, first_size, MGLU_MAX_STRUCT_SIZE, name);
    return MGLU_OK;
}

/* Copies a caller's struct of any version: missing members become zero, unknown ones must be zero. */
static inline mglu_status mglu_struct_read(const char *name, void *target, size_t target_size, size_t first_size,
                                           const void *source)
{
    mglu_status status = mglu_struct_check(name, source, first_size);
    uint32_t size, own = (uint32_t)target_size;

    if (status != MGLU_OK)
        return status;
    size = mglu_struct_size(source);
    for (size_t i = target_size; i < size; i++)
        if (((const unsigned char *)source)[i] != 0)
            return mglu_fail(MGLU_ERROR_VERSION_MISMATCH, "%s has %u bytes, this library (%s) knows %zu", name, size,
                             mglu_version(), target_size);
    memset(target, 0, target_size);
    memcpy(target, source, size < target_size ? size : target_size);
    memcpy(target, &own, sizeof own);
    return MGLU_OK;
}

/* Fills a caller's struct of any version, whose struct_size it has set. Members that are unknown here are not touched.
 */
static inline mglu_status mglu_struct_write(const char *name, void *target, size_t first_size, const void *source,
                                            size_t source_size)
{
    mglu_status status = mglu_struct_check(name, target, first_size);
    uint32_t size;

    if (status != MGLU_OK)
        return status;
    size = mglu_struct_size(target);
    memcpy((unsigned char *)target + sizeof size, (const unsigned char *)source + sizeof size,
           (size < source_size ? size : source_size) - sizeof size);
    return MGLU_OK;
}

#endif
