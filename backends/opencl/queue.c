/* SPDX-License-Identifier: MIT */
#include "backends/opencl/opencl.h"

static struct mglu_opencl_device *device_of(void *backend, int32_t ordinal)
{
    return &((struct mglu_opencl_backend *)backend)->devices[ordinal];
}

/* The context of a caller's queue, after checking that forwards can use the queue. */
static mglu_status check_stream(struct mglu_opencl_device *device, const mglu_opencl_stream *stream,
                                cl_context *context)
{
    const struct mglu_opencl_driver *cl = &device->backend->cl;
    const mglu_host *host = device->backend->host;
    cl_command_queue_properties properties = 0;
    cl_device_id id = NULL;
    cl_int code;

    if (stream->struct_size != sizeof *stream)
        return host->fail(MGLU_ERROR_VERSION_MISMATCH, "opencl: struct_size of mglu_opencl_stream is %u, must be %zu",
                          (unsigned)stream->struct_size, sizeof *stream);
    code = cl->clGetCommandQueueInfo(stream->queue, CL_QUEUE_CONTEXT, sizeof(cl_context), context, NULL);
    if (code == CL_SUCCESS)
        code = cl->clGetCommandQueueInfo(stream->queue, CL_QUEUE_DEVICE, sizeof id, &id, NULL);
    if (code == CL_SUCCESS)
        code = cl->clGetCommandQueueInfo(stream->queue, CL_QUEUE_PROPERTIES, sizeof properties, &properties, NULL);
    if (code != CL_SUCCESS)
        return host->fail(MGLU_ERROR_INVALID_ARGUMENT, "opencl: the stream's queue is not a cl_command_queue");
    if (id != device->id)
        return host->fail(MGLU_ERROR_INVALID_ARGUMENT, "opencl: the stream's queue is on another device than %s",
                          device->name);
    if (properties & CL_QUEUE_OUT_OF_ORDER_EXEC_MODE_ENABLE)
        return host->fail(MGLU_ERROR_INVALID_ARGUMENT, "opencl: the stream's queue is out of order");
    return MGLU_OK;
}

static mglu_status fill_queue(struct mglu_opencl_queue *queue)
{
    struct mglu_opencl_device *device = queue->device;
    const struct mglu_opencl_driver *cl = &device->backend->cl;
    static const int clear = 0;
    cl_int code;

    if (queue->stream) {
        code = cl->clRetainCommandQueue(queue->stream->queue);
        queue->commands = queue->stream->queue;
    } else {
        queue->commands = cl->clCreateCommandQueue(device->context, device->id, 0, &code);
    }
    if (code != CL_SUCCESS) {
        queue->commands = NULL;
        return mglu_opencl_fail(device, code, queue->stream ? "clRetainCommandQueue" : "clCreateCommandQueue",
                                "making a queue");
    }
    return mglu_opencl_buffer(device, sizeof clear, &clear, &queue->bad_routing);
}

static void drop_marker(struct mglu_opencl_queue *queue)
{
    if (queue->marker)
        (void)queue->device->backend->cl.clReleaseEvent(queue->marker);
    queue->marker = NULL;
}

/* All but the driver's queue. Memory that the driver has for callbacks stays. */
static void free_all_but_commands(struct mglu_opencl_queue *queue)
{
    drop_marker(queue);
    mglu_opencl_buffer_release(queue->device, queue->bad_routing);
    mglu_notifications_tell(&queue->notifications, MGLU_ERROR_DEVICE_LOST);
    if (mglu_notifications_left(&queue->notifications))
        return;
    mglu_notifications_free(&queue->notifications);
    mglu_opencl_release(queue->device->backend->host, queue, sizeof *queue);
}

static void free_queue(struct mglu_opencl_queue *queue)
{
    if (queue->commands)
        queue->device->backend->cl.clReleaseCommandQueue(queue->commands);
    free_all_but_commands(queue);
}

mglu_status mglu_opencl_queue_create(void *backend, int32_t ordinal, const mglu_queue_desc *desc, void **queue)
{
    struct mglu_opencl_device *device = device_of(backend, ordinal);
    const mglu_opencl_stream *stream = desc->native_stream;
    struct mglu_opencl_queue *made;
    cl_context wanted = NULL;
    mglu_status status = stream ? check_stream(device, stream, &wanted) : MGLU_OK;

    if (status == MGLU_OK)
        status = mglu_opencl_device_start(device, wanted);
    if (status != MGLU_OK)
        return status;
    made = mglu_opencl_allocate(device->backend->host, sizeof *made);
    if (!made)
        return device->backend->host->fail(MGLU_ERROR_OUT_OF_MEMORY, "out of memory");
    *made = (struct mglu_opencl_queue){.device = device, .stream = stream};
    mglu_notifications_init(&made->notifications, device->backend->host);
    status = fill_queue(made);
    if (status != MGLU_OK)
        free_queue(made);
    else
        *queue = made;
    return status;
}

/* Reads and clears the flag that kernels set. If that fails, a later wait does it. */
static mglu_status take_bad_routing(struct mglu_opencl_queue *queue)
{
    const struct mglu_opencl_driver *cl = &queue->device->backend->cl;
    const char *call = "clEnqueueReadBuffer";
    static const int clear = 0;
    int raised = 0;
    cl_int code;

    if (!queue->routed)
        return MGLU_OK;
    code =
        cl->clEnqueueReadBuffer(queue->commands, queue->bad_routing, CL_TRUE, 0, sizeof raised, &raised, 0, NULL, NULL);
    if (code == CL_SUCCESS && raised) {
        call = "clEnqueueWriteBuffer";
        code = cl->clEnqueueWriteBuffer(queue->commands, queue->bad_routing, CL_TRUE, 0, sizeof clear, &clear, 0, NULL,
                                        NULL);
    }
    if (code != CL_SUCCESS)
        return mglu_opencl_fail(queue->device, code, call, "reading the routing flag");
    queue->routed = 0;
    if (raised)
        return queue->device->backend->host->fail(MGLU_ERROR_BAD_ROUTING,
                                                  "a routing id was out of range; its token's output is NaN");
    return MGLU_OK;
}

/* A driver that has lost the device may not call back. */
static mglu_status tell_if_lost(struct mglu_opencl_queue *queue, mglu_status status)
{
    if (status == MGLU_ERROR_DEVICE_LOST)
        mglu_notifications_tell(&queue->notifications, status);
    return status;
}

/* ---- Waiting ---------------------------------------------------------------------------------------------------- */

mglu_status mglu_opencl_queue_wait(void *backend, void *queue)
{
    struct mglu_opencl_queue *self = queue;
    mglu_status status = mglu_opencl_device_check(self->device);
    cl_int code;

    if (status != MGLU_OK)
        return tell_if_lost(self, status);
    code = self->device->backend->cl.clFinish(self->commands);
    if (code != CL_SUCCESS)
        return tell_if_lost(self, mglu_opencl_fail(self->device, code, "clFinish", "waiting for the queue"));
    drop_marker(self);
    self->has_newer_work = 0;
    mglu_notifications_wait(&self->notifications);
    return take_bad_routing(self);
}

/* OpenCL has no question about a queue, only about an event: that of a marker behind the work. */
static cl_int place_marker(struct mglu_opencl_queue *queue, const char **call)
{
    const struct mglu_opencl_driver *cl = &queue->device->backend->cl;
    cl_int code;

    if (queue->marker && !queue->has_newer_work)
        return CL_SUCCESS;
    drop_marker(queue);
    *call = "clEnqueueMarkerWithWaitList";
    code = cl->clEnqueueMarkerWithWaitList(queue->commands, 0, NULL, &queue->marker);
    if (code != CL_SUCCESS) {
        queue->marker = NULL;
        return code;
    }
    queue->has_newer_work = 0;
    *call = "clFlush";
    return cl->clFlush(queue->commands);
}

/* Whether the work of this library is done. A code is that of the call which failed, or of the work if that is done. */
static cl_int query(struct mglu_opencl_queue *queue, int *is_done, const char **call)
{
    const struct mglu_opencl_driver *cl = &queue->device->backend->cl;
    cl_int state = CL_QUEUED, code;

    *is_done = !queue->marker && !queue->has_newer_work;
    if (*is_done)
        return CL_SUCCESS;
    code = place_marker(queue, call);
    if (code == CL_SUCCESS) {
        *call = "clGetEventInfo";
        code = cl->clGetEventInfo(queue->marker, CL_EVENT_COMMAND_EXECUTION_STATUS, sizeof state, &state, NULL);
    }
    if (code != CL_SUCCESS)
        queue->has_newer_work = 1; /* the next question needs another marker */
    *is_done = code == CL_SUCCESS && state <= CL_COMPLETE;
    if (*is_done || code != CL_SUCCESS)
        drop_marker(queue);
    return *is_done ? state : code;
}

mglu_status mglu_opencl_queue_poll(void *backend, void *queue)
{
    struct mglu_opencl_queue *self = queue;
    mglu_status status = mglu_opencl_device_check(self->device);
    const char *call = "";
    int is_done = 0;
    cl_int code;

    if (status != MGLU_OK)
        return tell_if_lost(self, status);
    code = query(self, &is_done, &call);
    if (code != CL_SUCCESS)
        return tell_if_lost(self, mglu_opencl_fail(self->device, code, call,
                                                   is_done ? "the work of the queue" : "asking for its state"));
    /* The driver's thread may be a moment behind the state of the event. */
    if (!is_done || mglu_notifications_due(&self->notifications))
        return MGLU_ERROR_TIMEOUT;
    return take_bad_routing(self);
}

/* ---- Callbacks -------------------------------------------------------------------------------------------------- */

static void CL_CALLBACK end_notification(cl_event event, cl_int state, void *notification)
{
    mglu_notification_end(notification, state < 0 ? mglu_opencl_status(state) : MGLU_OK);
}

/* The command at whose end the callback is due: one that reads the flag of the routing where it may be set. */
static cl_int enqueue_end(struct mglu_opencl_queue *queue, int32_t *flag, cl_event *event, const char **call)
{
    const struct mglu_opencl_driver *cl = &queue->device->backend->cl;

    *call = queue->routed ? "clEnqueueReadBuffer" : "clEnqueueMarkerWithWaitList";
    if (queue->routed)
        return cl->clEnqueueReadBuffer(queue->commands, queue->bad_routing, CL_FALSE, 0, sizeof *flag, flag, 0, NULL,
                                       event);
    return cl->clEnqueueMarkerWithWaitList(queue->commands, 0, NULL, event);
}

/* Without a callback nobody says when the command no longer writes to the flag. */
static void undo_notification(struct mglu_opencl_queue *queue, struct mglu_notification *notification)
{
    if (queue->device->backend->cl.clFinish(queue->commands) == CL_SUCCESS)
        mglu_notification_drop(notification);
    else
        mglu_notification_silence(notification);
}

mglu_status mglu_opencl_queue_notify(void *backend, void *queue, mglu_queue_callback callback, void *user)
{
    struct mglu_opencl_queue *self = queue;
    const struct mglu_opencl_driver *cl = &self->device->backend->cl;
    mglu_status status = mglu_opencl_device_check(self->device);
    struct mglu_notification *made =
        status == MGLU_OK ? mglu_notification_add(&self->notifications, callback, user) : NULL;
    cl_event event = NULL;
    const char *call;
    cl_int code;

    if (!made)
        return status == MGLU_OK ? MGLU_ERROR_OUT_OF_MEMORY : status;
    self->has_newer_work = 1;
    code = enqueue_end(self, &made->copy, &event, &call);
    if (code != CL_SUCCESS) {
        mglu_notification_drop(made);
        return mglu_opencl_fail(self->device, code, call, "notifying of the end of work");
    }
    code = cl->clSetEventCallback(event, CL_COMPLETE, end_notification, made);
    (void)cl->clReleaseEvent(event);
    if (code != CL_SUCCESS) {
        undo_notification(self, made);
        return mglu_opencl_fail(self->device, code, "clSetEventCallback", "notifying of the end of work");
    }
    (void)cl->clFlush(self->commands);
    return MGLU_OK;
}

/* ---- The end ---------------------------------------------------------------------------------------------------- */

/*
 * Some drivers wait for a queue's work when it is released; with the queue, its context is never released. All other
 * objects are: OpenCL itself keeps them for work that uses them.
 */
static void give_up(struct mglu_opencl_queue *queue)
{
    const mglu_host *host = queue->device->backend->host;

    atomic_store(&queue->device->is_given_up, 1);
    host->log(host, MGLU_LOG_WARN,
              "opencl: %s: a queue is destroyed before its work is done: the device is given up in this context, and "
              "the queue is not released",
              queue->device->name);
    free_all_but_commands(queue);
}

void mglu_opencl_queue_destroy(void *backend, void *queue)
{
    struct mglu_opencl_queue *self = queue;
    const int is_lost = atomic_load(&self->device->lost); /* nothing to wait for */
    const char *call;
    int is_done = 0;

    if (!is_lost && query(self, &is_done, &call) == CL_SUCCESS && !is_done)
        give_up(self);
    else
        free_queue(self);
}
