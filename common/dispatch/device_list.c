/* SPDX-License-Identifier: MIT */
#include "backends/builtin.h"
#include "common/dispatch/objects.h"

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
    mglu_backend_device info = {.struct_size = sizeof info, .name = "", .reason = backend->closed};
    mglu_status status = MGLU_OK;
    int32_t count;

    if (backend->closed)
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
    if (!backend->closed && !(backend->has_drivers && is_inherited(context)))
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

/* Why a backend is not opened, or NULL. That a plug-in is loaded allows it. */
static const char *reason_to_stay_closed(const mglu_context *context, const mglu_backend_fns *fns)
{
    if (context->allowed && mglu_is_builtin_name(fns->name) && !mglu_names_include(context->allowed, fns->name))
        return context->closed;
    return fns->unavailable;
}

mglu_status mglu_context_add_backend(mglu_context *context, const mglu_backend_fns *fns)
{
    size_t first_device = context->devices.count;
    struct opened_backend *backend = mglu_host_allocate(context, sizeof *backend, _Alignof(struct opened_backend));
    mglu_status status = MGLU_OK;

    if (!backend)
        return mglu_fail(MGLU_ERROR_OUT_OF_MEMORY, "out of memory");
    *backend = (struct opened_backend){.fns = fns, .closed = reason_to_stay_closed(context, fns)};
    if (!backend->closed)
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
 * Whether mglu_device_pick() of that name may select a device of the backend. One without memory functions has host
 * memory: for "host" no driver is opened to find out.
 */
static int may_be_selected(const mglu_backend_fns *fns, const char *name)
{
    return strcmp(name, "host") == 0 ? !fns->memory_allocate && !fns->unavailable : strcmp(fns->name, name) == 0;
}

/*
 * Opens the built-in backends for a name, or with NULL all of them, as far as they are not open yet: opening one may
 * load a driver. When all are open, their devices are put into the order that indices count. After a failure the next
 * call continues where this one stopped.
 */
static mglu_status open_builtin(mglu_context *context, const char *name)
{
    mglu_status status = MGLU_OK;

    for (size_t i = 0; status == MGLU_OK && mglu_builtin_backends[i]; i++) {
        const mglu_backend_fns *fns = mglu_builtin_backends[i];

        if ((name && !may_be_selected(fns, name)) || is_open(context, fns))
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
    struct error_text saved;
    mglu_status status;

    save_error(&saved);
    status = open_builtin(context, name);
    if (status == MGLU_OK)
        restore_error(&saved);
    return status;
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
