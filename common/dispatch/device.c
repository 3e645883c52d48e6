/* SPDX-License-Identifier: MIT */
#include "common/dispatch/objects.h"

#include <string.h>

mglu_status mglu_device_check_fork(const mglu_device *device)
{
    if (is_callable(device))
        return MGLU_OK;
    return mglu_fail(MGLU_ERROR_AFTER_FORK,
                     "backend '%s' was opened before fork() and does not work in the child; make a new context",
                     device->backend.fns->name);
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

static int is_candidate(const mglu_device *device, const char *name)
{
    if (!is_available(device))
        return 0;
    if (strcmp(name, "auto") == 0)
        return device->info.rank > MGLU_RANK_NEVER;
    if (strcmp(name, "host") == 0)
        return device->info.rank > MGLU_RANK_NEVER && device->info.host_memory;
    return strcmp(device->backend.fns->name, name) == 0;
}

/* The candidate of the highest rank, the first of several. */
static mglu_device *best_device(const mglu_context *context, const char *name)
{
    mglu_device *best = NULL;

    for (size_t i = 0; i < context->devices.count; i++) {
        mglu_device *device = context->devices.items[i];
        if (is_candidate(device, name) && (!best || device->info.rank > best->info.rank))
            best = device;
    }
    return best;
}

/* Why neither "auto" nor "host" has a device. */
static mglu_status explain_no_best_device(const mglu_context *context, const char *name, const char *source)
{
    const char *which = strcmp(name, "host") == 0 ? " with host memory" : "";

    if (is_inherited(context) && !context->is_complete)
        return mglu_fail(MGLU_ERROR_AFTER_FORK,
                         "%sno device%s was opened before fork(); make a new context in the child", source, which);
    if (context->allowed)
        return mglu_fail(MGLU_ERROR_NO_DEVICE, "%sno device%s is available among the backends '%s'", source, which,
                         context->allowed);
    return mglu_fail(MGLU_ERROR_NO_DEVICE, "%sno device%s is available; 'ref' can be selected by name", source, which);
}

/* Why no available device has that name. */
static mglu_status explain_no_device(const mglu_context *context, const char *name, const char *source)
{
    char known[256];

    if (strcmp(name, "auto") == 0 || strcmp(name, "host") == 0)
        return explain_no_best_device(context, name, source);
    for (size_t i = 0; i < context->devices.count; i++) {
        const mglu_device *device = context->devices.items[i];
        if (strcmp(device->backend.fns->name, name) == 0)
            return mglu_fail(MGLU_ERROR_NO_DEVICE, "%sbackend '%s' is not available: %s", source, name,
                             device->info.reason);
    }
    if (is_inherited(context) && mglu_is_builtin_name(name))
        return mglu_fail(MGLU_ERROR_AFTER_FORK,
                         "%sbackend '%s' was not opened before fork(); make a new context in the child", source, name);
    mglu_names_known(context, known, sizeof known);
    return mglu_fail(MGLU_ERROR_NO_DEVICE, "%sunknown backend '%s'; known: %s", source, name, known);
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
    *device = best_device(context, backend);
    status = *device ? mglu_device_check_fork(*device) : explain_no_device(context, backend, source);
    if (status != MGLU_OK)
        *device = NULL;
    else
        mglu_log(&context->host, MGLU_LOG_INFO, "picked %s: %s %s", (*device)->backend.fns->name,
                 text_or_empty((*device)->info.name), text_or_empty((*device)->info.details));
    mglu_context_unlock_devices(context);
    return status;
}
