/* SPDX-License-Identifier: MIT */
#include "common/core/library.h"
#include "common/dispatch/objects.h"

#include <dlfcn.h>
#include <errno.h>
#include <string.h>

/* Size of the first table of this ABI. Members that are added behind it may be absent. */
#define FIRST_TABLE MGLU_FIRST_SIZE(mglu_backend_fns, queue_notify)

/* Name of the first function for training that a table does not have although it has train_create, or NULL. */
static const char *missing_for_training(const mglu_backend_fns *fns)
{
    const struct {
        const char *name;
        int is_set;
    } functions[] = {
        {"train_destroy", !!MGLU_TABLE_SLOT(fns, train_destroy)},
        {"train_workspace_size", !!MGLU_TABLE_SLOT(fns, train_workspace_size)},
        {"train_saved_size", !!MGLU_TABLE_SLOT(fns, train_saved_size)},
        {"train_forward", !!MGLU_TABLE_SLOT(fns, train_forward)},
        {"train_backward", !!MGLU_TABLE_SLOT(fns, train_backward)},
    };

    for (size_t i = 0; i < sizeof functions / sizeof functions[0]; i++)
        if (!functions[i].is_set && MGLU_TABLE_SLOT(fns, train_create))
            return functions[i].name;
    return NULL;
}

/* Name of the first required function that a table does not have, or NULL. */
static const char *missing_function(const mglu_backend_fns *fns)
{
    const struct {
        const char *name;
        int is_set;
    } functions[] = {
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
        {"workspace_size", !!fns->workspace_size},
        {"layer_accuracy", !!fns->layer_accuracy},
        {"forward", !!fns->forward},
        {"memory_allocate", fns->memory_allocate || !(fns->memory_release || fns->memory_write || fns->memory_read)},
        {"memory_release", !fns->memory_allocate || fns->memory_release},
        {"memory_write", !fns->memory_allocate || fns->memory_write},
        {"memory_read", !fns->memory_allocate || fns->memory_read},
    };

    for (size_t i = 0; i < sizeof functions / sizeof functions[0]; i++)
        if (!functions[i].is_set)
            return functions[i].name;
    return missing_for_training(fns);
}

/* A name is typed on command lines and printed in lists. */
static int is_usable_name(const char *name)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz0123456789_-";

    return name && name[0] && !name[strspn(name, letters)] && strcmp(name, "auto") != 0 && strcmp(name, "host") != 0;
}

/* Built-in backends have their names whether they are open or not. */
static int is_taken(const mglu_context *context, const char *name)
{
    for (size_t i = 0; i < context->backends.count; i++)
        if (strcmp(((const struct opened_backend *)context->backends.items[i])->fns->name, name) == 0)
            return 1;
    return mglu_is_builtin_name(name);
}

static mglu_status check_table(const mglu_context *context, const mglu_backend_fns *fns, const char *path)
{
    const char *missing;

    if (!fns)
        return mglu_fail(MGLU_ERROR_VERSION_MISMATCH, "%s: refuses this library's ABI %d", path, MGLU_BACKEND_ABI);
    if (fns->abi != MGLU_BACKEND_ABI)
        return mglu_fail(MGLU_ERROR_VERSION_MISMATCH, "%s: has ABI %u, this library has %d", path, fns->abi,
                         MGLU_BACKEND_ABI);
    if (fns->struct_size < FIRST_TABLE || fns->struct_size > sizeof *fns)
        return mglu_fail(MGLU_ERROR_VERSION_MISMATCH, "%s: its table has %u bytes, this library's %zu", path,
                         fns->struct_size, sizeof *fns);
    if (!is_usable_name(fns->name))
        return mglu_fail(MGLU_ERROR_INVALID_ARGUMENT,
                         "%s: the backend needs a name of a-z, 0-9, _ and -, other than \"auto\" and \"host\"", path);
    if (fns->unavailable && !fns->unavailable[0])
        return mglu_fail(MGLU_ERROR_INVALID_ARGUMENT, "%s: backend '%s' is unavailable without a reason", path,
                         fns->name);
    missing = fns->unavailable ? NULL : missing_function(fns);
    if (missing)
        return mglu_fail(MGLU_ERROR_INVALID_ARGUMENT, "%s: backend '%s' has no %s", path, fns->name, missing);
    if (is_taken(context, fns->name))
        return mglu_fail(MGLU_ERROR_INVALID_ARGUMENT, "%s: a backend '%s' already exists", path, fns->name);
    return MGLU_OK;
}

/* The error in a backend's description of a device, or NULL. An unavailable device needs only a reason. */
static const char *device_fault(const mglu_backend_fns *fns, const mglu_device *device)
{
    const mglu_backend_device *info = &device->info;
    int available = is_available(device);

    if (info->struct_size != sizeof *info)
        return "its struct_size was changed";
    if (available && (!info->name || !info->name[0]))
        return "it has no name";
    if (info->rank < MGLU_RANK_NEVER || info->rank > MGLU_RANK_NATIVE_GPU)
        return "its rank is out of range";
    if (info->type != MGLU_DEVICE_CPU && info->type != MGLU_DEVICE_GPU && info->type != MGLU_DEVICE_ACCELERATOR)
        return "its type is unknown";
    if (available && !info->host_memory && !fns->memory_allocate)
        return "it has memory of its own, but the backend has no memory_allocate";
    return NULL;
}

static mglu_status check_devices(const mglu_context *context, const mglu_backend_fns *fns, size_t first,
                                 const char *path)
{
    if (context->devices.count == first)
        return mglu_fail(MGLU_ERROR_INVALID_ARGUMENT,
                         "%s: backend '%s' lists no device; expected at least an unavailable one with the reason", path,
                         fns->name);
    for (size_t i = first; i < context->devices.count; i++) {
        const char *fault = fns->unavailable ? NULL : device_fault(fns, context->devices.items[i]);

        if (fault)
            return mglu_fail(MGLU_ERROR_INVALID_ARGUMENT, "%s: device %zu of backend '%s': %s", path, i - first,
                             fns->name, fault);
    }
    return MGLU_OK;
}

/* Opens a backend whose table is valid, and checks everything that it then returns. */
static mglu_status add_checked(mglu_context *context, const mglu_backend_fns *fns, const char *path)
{
    size_t first = context->devices.count;
    mglu_status status;

    mglu_fail(MGLU_OK, "%s", ""); /* else a failure without a text would report an older one */
    status = mglu_context_add_backend(context, fns);
    if (status != MGLU_OK)
        return mglu_fail(status, "%s: backend '%s' does not open: %s", path, fns->name,
                         mglu_last_error()[0] ? mglu_last_error() : mglu_status_string(status));
    status = check_devices(context, fns, first, path);
    if (status != MGLU_OK)
        mglu_context_drop_last_backend(context, first);
    return status;
}

static mglu_status add_library(mglu_context *context, void *library, const char *path)
{
    mglu_backend_entry_fn entry;
    const mglu_backend_fns *fns;
    mglu_status status;

    /* A cast from an object to a function pointer: undefined in ISO C, guaranteed by POSIX. */
    *(void **)&entry = dlsym(library, MGLU_BACKEND_ENTRY);
    if (!entry)
        return mglu_fail(MGLU_ERROR_IO, "%s: not an mglu backend: %s", path, dlerror());
    fns = entry(MGLU_BACKEND_ABI);
    status = mglu_context_lock_devices(context, ""); /* opens none */
    if (status != MGLU_OK)
        return status;
    status = check_table(context, fns, path);
    if (status == MGLU_OK) {
        mglu_context_begin_change(context);
        status = add_checked(context, fns, path);
        mglu_context_end_change(context);
    }
    mglu_context_unlock_devices(context);
    return status;
}

/*
 * Only errno tells whether dlopen() lacked memory. Where it can't copy the path, glibc says that the file, which was
 * read a moment ago, does not exist; a library that the plug-in needs may be missing indeed.
 */
static mglu_status fail_to_load(const char *path, const char *text, int error)
{
    if (error == ENOMEM || (error == ENOENT && strncmp(text, path, strlen(path)) == 0))
        return mglu_fail(MGLU_ERROR_OUT_OF_MEMORY, "out of memory: cannot load a backend: %s", text);
    return mglu_fail(MGLU_ERROR_IO, "cannot load a backend: %s", text);
}

mglu_status mglu_backend_load(mglu_context *context, const char *path)
{
    mglu_status status;
    const char *text;
    void *library;

    if (!context || !path)
        return mglu_fail(MGLU_ERROR_INVALID_ARGUMENT, "context or path is NULL");
    if (path[0] != '/')
        return mglu_fail(MGLU_ERROR_INVALID_ARGUMENT, "%s: must be an absolute path; no directory is searched", path);
    if (is_inherited(context))
        return mglu_fail(MGLU_ERROR_AFTER_FORK,
                         "this context was made before fork() and takes no more backends; make a new one");
    status = mglu_shared_object_check(path);
    if (status != MGLU_OK)
        return status;
    errno = 0;
    library = mglu_library_open(path, &text);
    if (!library)
        return fail_to_load(path, text, errno);
    /* An accepted library is never unloaded: its devices' strings and its driver's threads are in it. */
    status = add_library(context, library, path);
    if (status != MGLU_OK)
        dlclose(library);
    return status;
}
