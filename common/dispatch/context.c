/* SPDX-License-Identifier: MIT */
#include "common/dispatch/objects.h"

#include <stdlib.h>
#include <string.h>

static mglu_status read_hooks(mglu_context *context, const mglu_context_desc *desc)
{
    if (desc->allocator) {
        if (!desc->allocator->allocate || !desc->allocator->release)
            return mglu_fail(MGLU_ERROR_INVALID_ARGUMENT, "allocator: allocate or release is NULL");
        context->host.allocator = *desc->allocator;
    }
    if (desc->device_allocator) {
        if (!desc->device_allocator->allocate || !desc->device_allocator->release)
            return mglu_fail(MGLU_ERROR_INVALID_ARGUMENT, "device_allocator: allocate or release is NULL");
        context->host.device_allocator = *desc->device_allocator;
    }
    if (desc->program_cache) {
        if (!desc->program_cache->load || !desc->program_cache->store)
            return mglu_fail(MGLU_ERROR_INVALID_ARGUMENT, "program_cache: load or store is NULL");
        context->host.program_cache = *desc->program_cache;
    }
    if (desc->parallel) {
        context->parallel = *desc->parallel;
        return mglu_parallel_check("context", desc->parallel);
    }
    return MGLU_OK;
}

static void init_host(mglu_host *host)
{
    host->struct_size = sizeof *host;
    host->allocator = mglu_default_allocator;
    host->fail = mglu_fail;
    host->log = mglu_log;
}

mglu_status mglu_context_create(const mglu_context_desc *desc, mglu_context **context)
{
    mglu_context_desc known = {.struct_size = sizeof known};
    mglu_context *made;
    mglu_status status = MGLU_OK;

    if (!context)
        return mglu_fail(MGLU_ERROR_INVALID_ARGUMENT, "context is NULL");
    *context = NULL;
    if (desc)
        status = mglu_struct_read("mglu_context_desc", &known, sizeof known,
                                  MGLU_FIRST_SIZE(mglu_context_desc, cache_dir), desc);
    if (status != MGLU_OK)
        return status;
    status = mglu_fork_register();
    if (status != MGLU_OK)
        return status;
    /* The context itself is malloc memory: it must exist before the caller's allocator can be called through it. */
    made = calloc(1, sizeof *made);
    if (!made)
        return mglu_fail(MGLU_ERROR_OUT_OF_MEMORY, "out of memory");
    init_host(&made->host);
    atomic_init(&made->refcount, 1);
    made->forks = atomic_load(&mglu_forks);
    pthread_mutex_init(&made->lock, NULL);
    status = read_hooks(made, &known);
    if (status == MGLU_OK)
        status = mglu_environment_read(made, &known);
    if (status != MGLU_OK) {
        mglu_context_release(made);
        return status;
    }
    if (!made->parallel.parallel_for)
        mglu_parallel_use_own(made);
    *context = made;
    return MGLU_OK;
}

void mglu_context_hold(mglu_context *context)
{
    atomic_fetch_add_explicit(&context->refcount, 1, memory_order_relaxed);
}

static void free_devices(mglu_context *context)
{
    while (context->backends.count)
        mglu_context_drop_last_backend(context, 0);
    mglu_list_free(context, &context->devices);
    mglu_list_free(context, &context->backends);
}

/* In a child forked while another thread changed the lists, what they hold is not freed: they may be torn. */
static void free_context(mglu_context *context)
{
    if (!is_inherited(context) || !atomic_load(&context->is_changing))
        free_devices(context);
    pthread_mutex_destroy(&context->lock);
    free(context->max_isa);
    free(context->default_backend);
    free(context->allowed);
    free(context->closed);
    free(context->cache_dir);
    free(context);
}

void mglu_context_release(mglu_context *context)
{
    if (atomic_fetch_sub_explicit(&context->refcount, 1, memory_order_acq_rel) == 1)
        free_context(context);
}

void mglu_context_destroy(mglu_context **context)
{
    if (!context || !*context)
        return;
    mglu_context_release(*context);
    *context = NULL;
}
