/* SPDX-License-Identifier: MIT */
#include "backends/builtin.h"
#include "common/core/names.h"
#include "common/dispatch/objects.h"

#include <stdio.h>
#include <string.h>

/* Device limit per backend; a backend that claims more is refused. */
enum { MAX_DEVICES = 1024 };

static mglu_status add_device(mglu_context *context, struct opened_backend *backend, int32_t ordinal,
                              const mglu_backend_device *info)
{
    mglu_device *device = mglu_host_allocate(context, sizeof *device, _Alignof(mglu_device));
    mglu_status status;

    if (!device)
        return mglu_fail(MGLU_ERROR_OUT_OF_MEMORY, "out of memory");
    *device = (mglu_device){.context = context, .backend = *backend, .ordinal = ordinal, .info = *info};
    backend->has_drivers |= !info->works_after_fork;
    status = mglu_list_append(context, &context->devices, device);
    if (status != MGLU_OK)
        mglu_host_release(context, device, sizeof *device, _Alignof(mglu_device));
    return status;
}

static mglu_status add_devices(mglu_context *context, struct opened_backend *backend)
{
    const mglu_backend_fns *fns = backend->fns;
    mglu_backend_device info = {.struct_size = sizeof info, .name = "", .reason = fns->unavailable};
    mglu_status status = MGLU_OK;
    int32_t count;

    if (fns->unavailable)
        return add_device(context, backend, 0, &info);
    count = fns->device_count(backend->state);
    if (count > MAX_DEVICES)
        return mglu_fail(MGLU_ERROR_INVALID_ARGUMENT, "backend '%s' claims to have %d devices", fns->name, count);
    for (int32_t i = 0; i < count && status == MGLU_OK; i++) {
        info = (mglu_backend_device){.struct_size = sizeof info};
        status = fns->device_info(backend->state, i, &info);
        if (status == MGLU_OK)
            status = add_device(context, backend, i, &info);
    }
    return status;
}

static void close_backend(mglu_context *context, struct opened_backend *backend)
{
    if (!backend->fns->unavailable && !(backend->has_drivers && is_inherited(context)))
        backend->fns->close(backend->state);
    mglu_host_release(context, backend, sizeof *backend, _Alignof(struct opened_backend));
}

void mglu_context_drop_last_backend(mglu_context *context, size_t first_device)
{
    while (context->devices.count > first_device)
        mglu_host_release(context, context->devices.items[--context->devices.count], sizeof(mglu_device),
                          _Alignof(mglu_device));
    close_backend(context, context->backends.items[--context->backends.count]);
}

mglu_status mglu_context_add_backend(mglu_context *context, const mglu_backend_fns *fns)
{
    size_t first_device = context->devices.count;
    struct opened_backend *backend = mglu_host_allocate(context, sizeof *backend, _Alignof(struct opened_backend));
    mglu_status status = MGLU_OK;

    if (!backend)
        return mglu_fail(MGLU_ERROR_OUT_OF_MEMORY, "out of memory");
    *backend = (struct opened_backend){.fns = fns};
    if (!fns->unavailable)
        status = fns->open(&context->host, &backend->state);
    if (status != MGLU_OK) {
        mglu_host_release(context, backend, sizeof *backend, _Alignof(struct opened_backend));
        return status;
    }
    status = mglu_list_append(context, &context->backends, backend);
    if (status != MGLU_OK) {
        close_backend(context, backend);
        return status;
    }
    status = add_devices(context, backend);
    if (status != MGLU_OK)
        mglu_context_drop_last_backend(context, first_device);
    return status;
}

mglu_status mglu_device_check_fork(const mglu_device *device)
{
    if (is_callable(device))
        return MGLU_OK;
    return mglu_fail(MGLU_ERROR_AFTER_FORK,
                     "backend '%s' was opened before fork() and does not work in the child; make a new context",
                     device->backend.fns->name);
}

void mglu_context_begin_change(mglu_context *context)
{
    atomic_store(&context->is_changing, 1);
    atomic_thread_fence(memory_order_seq_cst); /* the change comes after it, also as seen by a child */
}

void mglu_context_end_change(mglu_context *context)
{
    atomic_store(&context->is_changing, 0);
}

static int is_open(const mglu_context *context, const mglu_backend_fns *fns)
{
    for (size_t i = 0; i < context->backends.count; i++)
        if (((const struct opened_backend *)context->backends.items[i])->fns == fns)
            return 1;
    return 0;
}

/* The place of a built-in backend in the list of all; others are behind them. */
static size_t builtin_index(const mglu_backend_fns *fns)
{
    size_t i = 0;

    while (mglu_builtin_backends[i] && mglu_builtin_backends[i] != fns)
        i++;
    return i;
}

/* Puts the devices into the order of their backends; those of one backend, and of loaded ones, keep theirs. */
static void sort_devices(struct pointer_list *devices)
{
    for (size_t i = 1; i < devices->count; i++) {
        mglu_device *device = devices->items[i];
        size_t at = i;

        for (; at > 0; at--) {
            mglu_device *before = devices->items[at - 1];
            if (builtin_index(before->backend.fns) <= builtin_index(device->backend.fns))
                break;
            devices->items[at] = before;
        }
        devices->items[at] = device;
    }
}

/*
 * Opens the built-in backend of that name, or with NULL all of them, as far as they are not open yet: opening one may
 * load a driver. When all are open, their devices are put into the order that indices count. After a failure the next
 * call continues where this one stopped.
 */
static mglu_status open_builtin(mglu_context *context, const char *name)
{
    mglu_status status = MGLU_OK;

    for (size_t i = 0; status == MGLU_OK && mglu_builtin_backends[i]; i++) {
        const mglu_backend_fns *fns = mglu_builtin_backends[i];

        if ((name && strcmp(fns->name, name) != 0) || is_open(context, fns))
            continue;
        mglu_context_begin_change(context);
        status = mglu_context_add_backend(context, fns);
        mglu_context_end_change(context);
    }
    if (status == MGLU_OK && !name) {
        mglu_context_begin_change(context);
        sort_devices(&context->devices);
        context->is_complete = 1;
        mglu_context_end_change(context);
    }
    return status;
}

/* Why a driver can't be opened is not the reason of any call's failure: the thread's text is of an earlier one. */
static mglu_status open_quietly(mglu_context *context, const char *name)
{
    char text[512];
    mglu_status status;

    snprintf(text, sizeof text, "%s", mglu_last_error());
    status = open_builtin(context, name);
    return status == MGLU_OK ? mglu_fail(MGLU_OK, "%s", text) : status;
}

/* A child uses what its parent has opened. */
static mglu_status check_inherited_list(const mglu_context *context, const char *name)
{
    if (!atomic_load(&context->is_changing) && (name || context->is_complete))
        return MGLU_OK;
    return mglu_fail(MGLU_ERROR_AFTER_FORK,
                     "the devices of this context were not listed before fork(); make a new context in the child");
}

mglu_status mglu_context_lock_devices(mglu_context *context, const char *name)
{
    mglu_status status = MGLU_OK;

    if (is_inherited(context))
        return check_inherited_list(context, name);
    pthread_mutex_lock(&context->lock);
    if (!context->is_complete)
        status = open_quietly(context, name);
    if (status != MGLU_OK)
        pthread_mutex_unlock(&context->lock);
    return status;
}

void mglu_context_unlock_devices(mglu_context *context)
{
    if (!is_inherited(context))
        pthread_mutex_unlock(&context->lock);
}

mglu_status mglu_device_check(const mglu_device *device)
{
    if (!is_available(device))
        return mglu_fail(MGLU_ERROR_NO_DEVICE, "backend '%s' is not available: %s", device->backend.fns->name,
                         device->info.reason);
    return mglu_device_check_fork(device);
}

mglu_status mglu_device_count(mglu_context *context, size_t *count)
{
    mglu_status status;

    if (!context || !count)
        return mglu_fail(MGLU_ERROR_INVALID_ARGUMENT, "context or count is NULL");
    *count = 0;
    status = mglu_context_lock_devices(context, NULL);
    if (status != MGLU_OK)
        return status;
    *count = context->devices.count;
    mglu_context_unlock_devices(context);
    return MGLU_OK;
}

mglu_device *mglu_device_at(mglu_context *context, size_t index)
{
    mglu_device *device = NULL;

    if (!context || mglu_context_lock_devices(context, NULL) != MGLU_OK)
        return NULL;
    if (index < context->devices.count)
        device = context->devices.items[index];
    mglu_context_unlock_devices(context);
    return device;
}

mglu_status mglu_device_get_info(const mglu_device *device, mglu_device_info *info)
{
    static const char *const no_names[] = {NULL};
    mglu_device_info known;

    if (!device)
        return mglu_fail(MGLU_ERROR_INVALID_ARGUMENT, "device is NULL");
    known = (mglu_device_info){
        .struct_size = sizeof known,
        .type = device->info.type,
        .backend = device->backend.fns->name,
        .name = text_or_empty(device->info.name),
        .reason = text_or_empty(device->info.reason),
        .details = text_or_empty(device->info.details),
        .memory_bytes = device->info.memory_bytes,
        .available = is_available(device),
        .host_memory = device->info.host_memory,
        .instruction_sets = device->info.instruction_sets ? device->info.instruction_sets : no_names,
        .works_after_fork = device->info.works_after_fork,
    };
    return mglu_struct_write("mglu_device_info", info, MGLU_FIRST_SIZE(mglu_device_info, instruction_sets), &known,
                             sizeof known);
}

/* The available device of the highest rank, the first of several; `backend` NULL: of any backend with a rank. */
static mglu_device *best_device(const mglu_context *context, const char *backend)
{
    mglu_device *best = NULL;

    for (size_t i = 0; i < context->devices.count; i++) {
        mglu_device *device = context->devices.items[i];
        if (!is_available(device))
            continue;
        if (backend ? strcmp(device->backend.fns->name, backend) != 0 : device->info.rank <= MGLU_RANK_NEVER)
            continue;
        if (!best || device->info.rank > best->info.rank)
            best = device;
    }
    return best;
}

/* The reason why `backend` has no available device. */
static mglu_status explain_no_device(const mglu_context *context, const char *backend, const char *source)
{
    const char *names[32] = {"auto"};
    size_t count = 1;
    char known[256];

    if (strcmp(backend, "auto") == 0)
        return mglu_fail(MGLU_ERROR_NO_DEVICE, "%sno device is available; 'ref' can be selected by name", source);
    for (size_t i = 0; i < context->devices.count; i++) {
        const mglu_device *device = context->devices.items[i];
        if (strcmp(device->backend.fns->name, backend) == 0)
            return mglu_fail(MGLU_ERROR_NO_DEVICE, "%sbackend '%s' is not available: %s", source, backend,
                             device->info.reason);
    }
    for (size_t i = 0; mglu_builtin_backends[i]; i++) {
        if (is_inherited(context) && strcmp(mglu_builtin_backends[i]->name, backend) == 0)
            return mglu_fail(MGLU_ERROR_AFTER_FORK,
                             "%sbackend '%s' was not opened before fork(); make a new context in the child", source,
                             backend);
        names[count++] = mglu_builtin_backends[i]->name;
    }
    for (size_t i = 0; i < context->backends.count && count < sizeof names / sizeof names[0]; i++) {
        const mglu_backend_fns *fns = ((const struct opened_backend *)context->backends.items[i])->fns;
        if (!mglu_builtin_backends[builtin_index(fns)])
            names[count++] = fns->name;
    }
    mglu_name_list(names, count, known, sizeof known);
    return mglu_fail(MGLU_ERROR_NO_DEVICE, "%sunknown backend '%s'; known: %s", source, backend, known);
}

mglu_status mglu_device_pick(mglu_context *context, const char *backend, mglu_device **device)
{
    const char *source = "";
    mglu_status status;

    if (!context || !device)
        return mglu_fail(MGLU_ERROR_INVALID_ARGUMENT, "context or device is NULL");
    *device = NULL;
    if (!backend && context->default_backend) {
        backend = context->default_backend;
        source = "MGLU_BACKEND: ";
    }
    if (!backend)
        backend = "auto";
    status = mglu_context_lock_devices(context, strcmp(backend, "auto") == 0 ? NULL : backend);
    if (status != MGLU_OK)
        return status;
    *device = best_device(context, strcmp(backend, "auto") == 0 ? NULL : backend);
    status = *device ? mglu_device_check_fork(*device) : explain_no_device(context, backend, source);
    if (status != MGLU_OK)
        *device = NULL;
    else
        mglu_log(&context->host, MGLU_LOG_INFO, "picked %s: %s %s", (*device)->backend.fns->name,
                 text_or_empty((*device)->info.name), text_or_empty((*device)->info.details));
    mglu_context_unlock_devices(context);
    return status;
}
