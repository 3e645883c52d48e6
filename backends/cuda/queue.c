/* SPDX-License-Identifier: MIT */
#include "backends/cuda/cuda_backend.h"

/* A stream, and the word by which kernels report a routing id that is out of range. */

/* The word that kernels set when a routing id is out of range: host memory, so that reading it costs no copy. */
static mglu_status make_flag(struct mglu_cuda_queue *queue)
{
    const struct mglu_cuda_driver *driver = &queue->device->backend->driver;
    void *flag = NULL;
    mglu_status status = mglu_cuda_check(
        queue->device, driver->mem_host_alloc(&flag, sizeof *queue->bad_routing, CU_MEMHOSTALLOC_DEVICEMAP),
        "cuMemHostAlloc");

    if (status != MGLU_OK)
        return status;
    queue->bad_routing = flag;
    *queue->bad_routing = 0;
    status = mglu_cuda_check(queue->device, driver->mem_host_get_device_pointer(&queue->bad_routing_address, flag, 0),
                             "cuMemHostGetDevicePointer");
    if (status != MGLU_OK)
        driver->mem_free_host(flag);
    return status;
}

static mglu_status make_queue(struct mglu_cuda_queue *queue, void *native_stream)
{
    const struct mglu_cuda_driver *driver = &queue->device->backend->driver;
    mglu_status status = make_flag(queue);

    queue->stream = native_stream;
    queue->owns_stream = !native_stream;
    if (status != MGLU_OK || native_stream)
        return status;
    status =
        mglu_cuda_check(queue->device, driver->stream_create(&queue->stream, CU_STREAM_NON_BLOCKING), "cuStreamCreate");
    if (status != MGLU_OK)
        driver->mem_free_host(queue->bad_routing);
    return status;
}

/* Memory that the driver has for callbacks stays. */
static void free_memory(struct mglu_cuda_queue *queue)
{
    if (mglu_notifications_left(&queue->notifications))
        return;
    mglu_notifications_free(&queue->notifications);
    mglu_cuda_release(queue->device->backend->host, queue, sizeof *queue);
}

mglu_status mglu_cuda_queue_create(void *backend, int32_t ordinal, const mglu_queue_desc *desc, void **queue)
{
    struct mglu_cuda_backend *self = backend;
    struct mglu_cuda_queue *made = mglu_cuda_allocate(self->host, sizeof *made);
    mglu_status status;

    if (!made)
        return self->host->fail(MGLU_ERROR_OUT_OF_MEMORY, "out of memory");
    *made = (struct mglu_cuda_queue){.device = &self->devices[ordinal]};
    mglu_notifications_init(&made->notifications, self->host);
    status = mglu_cuda_retain_and_enter(made->device);
    if (status == MGLU_OK)
        status = mglu_cuda_leave(made->device, make_queue(made, desc->native_stream));
    if (status != MGLU_OK) {
        free_memory(made);
        return status;
    }
    *queue = made;
    return MGLU_OK;
}

/* The driver does not call back once a fault has ended the context. */
static mglu_status tell_if_lost(struct mglu_cuda_queue *queue, mglu_status status)
{
    if (status == MGLU_ERROR_DEVICE_LOST)
        mglu_notifications_tell(&queue->notifications, status);
    return status;
}

/* Once the work is done, ends a wait between enter and leave. */
static mglu_status end_wait(struct mglu_cuda_queue *queue, CUresult result, const char *call)
{
    mglu_status status = mglu_cuda_leave(queue->device, mglu_cuda_check(queue->device, result, call));

    if (status != MGLU_OK || !*queue->bad_routing)
        return tell_if_lost(queue, status);
    *queue->bad_routing = 0;
    return queue->device->backend->host->fail(MGLU_ERROR_BAD_ROUTING,
                                              "a routing id was out of range; its token's output is NaN");
}

mglu_status mglu_cuda_queue_wait(void *backend, void *queue)
{
    const struct mglu_cuda_driver *driver = &((const struct mglu_cuda_backend *)backend)->driver;
    struct mglu_cuda_queue *waiting = queue;
    mglu_status status = mglu_cuda_enter(waiting->device);

    if (status != MGLU_OK)
        return tell_if_lost(waiting, status);
    return end_wait(waiting, driver->stream_synchronize(waiting->stream), "cuStreamSynchronize");
}

mglu_status mglu_cuda_queue_poll(void *backend, void *queue)
{
    const struct mglu_cuda_driver *driver = &((const struct mglu_cuda_backend *)backend)->driver;
    struct mglu_cuda_queue *waiting = queue;
    mglu_status status = mglu_cuda_enter(waiting->device);
    CUresult result;

    if (status != MGLU_OK)
        return tell_if_lost(waiting, status);
    result = driver->stream_query(waiting->stream);
    if (result == CUDA_ERROR_NOT_READY)
        return mglu_cuda_leave(waiting->device, MGLU_ERROR_TIMEOUT);
    return end_wait(waiting, result, "cuStreamQuery");
}

/* In a thread of the driver's, as a part of the stream's work. */
static void CUDA_CB end_notification(void *notification)
{
    mglu_notification_end(notification, MGLU_OK);
}

/* Between enter and leave. */
static mglu_status check_not_captured(const struct mglu_cuda_queue *queue)
{
    const struct mglu_cuda_backend *backend = queue->device->backend;
    CUstreamCaptureStatus capture = CU_STREAM_CAPTURE_STATUS_NONE;
    mglu_status status = mglu_cuda_check(queue->device, backend->driver.stream_is_capturing(queue->stream, &capture),
                                         "cuStreamIsCapturing");

    if (status != MGLU_OK || capture == CU_STREAM_CAPTURE_STATUS_NONE)
        return status;
    return backend->host->fail(MGLU_ERROR_INVALID_ARGUMENT,
                               "cuda: the queue's stream is captured: each replay of the graph would call back");
}

/* Between enter and leave. */
static mglu_status notify(struct mglu_cuda_queue *queue, mglu_queue_callback callback, void *user)
{
    mglu_status status = check_not_captured(queue);
    struct mglu_notification *made;

    if (status != MGLU_OK)
        return status;
    made = mglu_notification_add(&queue->notifications, callback, user);
    if (!made)
        return MGLU_ERROR_OUT_OF_MEMORY;
    made->bad_routing = queue->bad_routing;
    status = mglu_cuda_check(queue->device,
                             queue->device->backend->driver.launch_host_func(queue->stream, end_notification, made),
                             "cuLaunchHostFunc");
    if (status != MGLU_OK)
        mglu_notification_drop(made);
    return status;
}

mglu_status mglu_cuda_queue_notify(void *backend, void *queue, mglu_queue_callback callback, void *user)
{
    struct mglu_cuda_queue *on = queue;
    mglu_status status = mglu_cuda_enter(on->device);

    return status == MGLU_OK ? mglu_cuda_leave(on->device, notify(on, callback, user)) : status;
}

/* Between enter and leave. */
static void free_stream(struct mglu_cuda_queue *queue)
{
    const struct mglu_cuda_driver *driver = &queue->device->backend->driver;

    if (queue->owns_stream)
        driver->stream_destroy(queue->stream);
    driver->mem_free_host(queue->bad_routing);
}

void mglu_cuda_queue_destroy(void *backend, void *queue)
{
    const struct mglu_cuda_backend *self = backend;
    struct mglu_cuda_queue *old = queue;

    if (mglu_cuda_enter_to_free(old->device)) {
        if (self->driver.stream_query(old->stream) == CUDA_ERROR_NOT_READY)
            mglu_cuda_give_up(old->device);
        else
            free_stream(old);
        mglu_cuda_leave_context(old->device);
    }
    mglu_notifications_tell(&old->notifications, MGLU_ERROR_DEVICE_LOST);
    free_memory(old);
}
