/* SPDX-License-Identifier: MIT */
#include "common/dispatch/objects.h"

#include <dlfcn.h>
#include <string.h>

/* Name of the first required slot that a table leaves empty, or NULL. */
static const char *missing_slot(const mglu_backend_fns *fns)
{
    const struct {
        const char *name;
        int is_set;
    } slots[] = {
        {"open", !!fns->open},
        {"close", !!fns->close},
        {"device_count", !!fns->device_count},
        {"device_info", !!fns->device_info},
        {"supports", !!fns->supports},
        {"weights_create", !!fns->weights_create},
        {"weights_destroy", !!fns->weights_destroy},
        {"weights_bytes", !!fns->weights_bytes},
        {"queue_create", !!fns->queue_create},
        {"queue_wait", !!fns->queue_wait},
        {"queue_destroy", !!fns->queue_destroy},
        {"layer_create", !!fns->layer_create},
        {"layer_destroy", !!fns->layer_destroy},
        {"layer_workspace_size", !!fns->layer_workspace_size},
        {"layer_accuracy", !!fns->layer_accuracy},
        {"forward", !!fns->forward},
        {"memory_release", !fns->memory_allocate || fns->memory_release},
        {"memory_write", !fns->memory_allocate || fns->memory_write},
        {"memory_read", !fns->memory_allocate || fns->memory_read},
    };

    for (size_t i = 0; i < sizeof slots / sizeof slots[0]; i++)
        if (!slots[i].is_set)
            return slots[i].name;
    return NULL;
}

static mglu_status check_table(const mglu_context *context, const mglu_backend_fns *fns, const char *path)
{
    const char *missing;

    if (!fns)
        return mglu_fail(MGLU_ERROR_VERSION_MISMATCH, "%s: refuses this library's ABI %d", path, MGLU_BACKEND_ABI);
    if (fns->abi != MGLU_BACKEND_ABI)
        return mglu_fail(MGLU_ERROR_VERSION_MISMATCH, "%s: has ABI %u, this library has %d", path, fns->abi,
                         MGLU_BACKEND_ABI);
    if (fns->struct_size != sizeof *fns)
        return mglu_fail(MGLU_ERROR_VERSION_MISMATCH, "%s: its table has %u bytes, this library's %zu", path,
                         fns->struct_size, sizeof *fns);
    if (!fns->name || !fns->name[0] || strcmp(fns->name, "auto") == 0)
        return mglu_fail(MGLU_ERROR_INVALID_ARGUMENT, "%s: the backend has no usable name", path);
    missing = fns->unavailable ? NULL : missing_slot(fns);
    if (missing)
        return mglu_fail(MGLU_ERROR_INVALID_ARGUMENT, "%s: backend '%s' has no %s", path, fns->name, missing);
    for (size_t i = 0; i < context->backends.count; i++)
        if (strcmp(((const struct opened_backend *)context->backends.items[i])->fns->name, fns->name) == 0)
            return mglu_fail(MGLU_ERROR_INVALID_ARGUMENT, "%s: there is a backend '%s' already", path, fns->name);
    return MGLU_OK;
}

static mglu_status add_library(mglu_context *context, void *library, const char *path)
{
    mglu_backend_entry_fn entry;
    const mglu_backend_fns *fns;
    mglu_status status;

    /* A cast from an object to a function pointer that ISO C lacks and POSIX promises. */
    *(void **)&entry = dlsym(library, MGLU_BACKEND_ENTRY);
    if (!entry)
        return mglu_fail(MGLU_ERROR_IO, "%s: is no mglu backend: %s", path, dlerror());
    fns = entry(MGLU_BACKEND_ABI);
    status = mglu_context_lock_devices(context);
    if (status != MGLU_OK)
        return status;
    status = check_table(context, fns, path);
    if (status == MGLU_OK)
        status = mglu_context_add_backend(context, fns);
    pthread_mutex_unlock(&context->lock);
    return status;
}

mglu_status mglu_backend_load(mglu_context *context, const char *path)
{
    mglu_status status;
    void *library;

    if (!context || !path)
        return mglu_fail(MGLU_ERROR_INVALID_ARGUMENT, "context or path is NULL");
    if (path[0] != '/')
        return mglu_fail(MGLU_ERROR_INVALID_ARGUMENT, "%s: must be an absolute path; no directory is searched", path);
    library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!library)
        return mglu_fail(MGLU_ERROR_IO, "cannot load a backend: %s", dlerror());
    /* A library that was taken stays loaded for good: its devices' texts and its driver's threads live in it. */
    status = add_library(context, library, path);
    if (status != MGLU_OK)
        dlclose(library);
    return status;
}
