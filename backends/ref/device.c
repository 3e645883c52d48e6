/* SPDX-License-Identifier: MIT */
#include "backends/ref/ref.h"

static void *allocate(const mglu_host *host, size_t size)
{
    return host->allocator.allocate(host->allocator.user, size, _Alignof(max_align_t));
}

static void release(const mglu_host *host, void *memory, size_t size)
{
    host->allocator.release(host->allocator.user, memory, size, _Alignof(max_align_t));
}

mglu_status mglu_ref_open(const mglu_host *host, void **backend)
{
    struct mglu_ref_backend *made = allocate(host, sizeof *made);

    if (!made)
        return host->fail(MGLU_ERROR_OUT_OF_MEMORY, "out of memory");
    made->host = host;
    *backend = made;
    return MGLU_OK;
}

void mglu_ref_close(void *backend)
{
    const struct mglu_ref_backend *self = backend;

    release(self->host, backend, sizeof *self);
}

int32_t mglu_ref_device_count(void *backend)
{
    return 1;
}

mglu_status mglu_ref_device_info(void *backend, int32_t ordinal, mglu_backend_device *info)
{
    info->rank = MGLU_RANK_NEVER;
    info->type = MGLU_DEVICE_CPU;
    info->host_memory = 1;
    info->name = "reference";
    info->details = "scalar double, for checking; slow";
    info->works_after_fork = 1;
    return MGLU_OK;
}

mglu_status mglu_ref_queue_create(void *backend, int32_t ordinal, const mglu_queue_desc *desc, void **queue)
{
    const struct mglu_ref_backend *self = backend;
    struct mglu_ref_queue *made;

    if (desc->native_stream)
        return self->host->fail(MGLU_ERROR_INVALID_ARGUMENT, "ref: a CPU queue takes no native stream");
    made = allocate(self->host, sizeof *made);
    if (!made)
        return self->host->fail(MGLU_ERROR_OUT_OF_MEMORY, "out of memory");
    atomic_init(&made->bad_routing, 0);
    *queue = made;
    return MGLU_OK;
}

mglu_status mglu_ref_queue_wait(void *backend, void *queue)
{
    const struct mglu_ref_backend *self = backend;
    struct mglu_ref_queue *known = queue;

    if (atomic_exchange(&known->bad_routing, 0))
        return self->host->fail(MGLU_ERROR_BAD_ROUTING, "a routing id was out of range; its token's output is NaN");
    return MGLU_OK;
}

mglu_status mglu_ref_queue_notify(void *backend, void *queue, mglu_queue_callback callback, void *user)
{
    struct mglu_ref_queue *self = queue;

    callback(user, atomic_load(&self->bad_routing) ? MGLU_ERROR_BAD_ROUTING : MGLU_OK);
    return MGLU_OK;
}

void mglu_ref_queue_destroy(void *backend, void *queue)
{
    const struct mglu_ref_backend *self = backend;

    release(self->host, queue, sizeof(struct mglu_ref_queue));
}
