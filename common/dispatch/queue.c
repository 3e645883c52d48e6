/* SPDX-License-Identifier: MIT */
#include "common/dispatch/objects.h"

#include <time.h>

#define NANOSECONDS ((uint64_t)1000000000)
#define DESTROY_NS  (10 * NANOSECONDS)

/* Between two polls, in nanoseconds: each pause is twice as long as the one before. */
enum { FIRST_PAUSE = 1000, LONGEST_PAUSE = 1000000 };

mglu_status mglu_queue_create(mglu_device *device, const mglu_queue_desc *desc, mglu_queue **queue)
{
    mglu_queue_desc known = {.struct_size = sizeof known};
    mglu_queue *made;
    mglu_status status = MGLU_OK;

    if (!device || !queue)
        return mglu_fail(MGLU_ERROR_INVALID_ARGUMENT, "device or queue is NULL");
    *queue = NULL;
    if (desc)
        status = mglu_struct_read("mglu_queue_desc", &known, sizeof known,
                                  MGLU_FIRST_SIZE(mglu_queue_desc, native_stream), desc);
    if (status == MGLU_OK)
        status = mglu_device_check(device);
    if (status != MGLU_OK)
        return status;
    made = mglu_host_allocate(device->context, sizeof *made, _Alignof(mglu_queue));
    if (!made)
        return mglu_fail(MGLU_ERROR_OUT_OF_MEMORY, "out of memory");
    *made = (mglu_queue){.device = device, .destroy_ns = known.destroy_ns ? known.destroy_ns : DESTROY_NS};
    atomic_init(&made->is_cancelled, 0);
    status = device->backend.fns->queue_create(device->backend.state, device->ordinal, &known, &made->state);
    if (status != MGLU_OK) {
        mglu_host_release(device->context, made, sizeof *made, _Alignof(mglu_queue));
        return status;
    }
    mglu_context_hold(device->context);
    *queue = made;
    return MGLU_OK;
}

mglu_status mglu_queue_wait(mglu_queue *queue)
{
    mglu_status status;

    if (!queue)
        return mglu_fail(MGLU_ERROR_INVALID_ARGUMENT, "queue is NULL");
    status = mglu_device_check_fork(queue->device);
    if (status != MGLU_OK)
        return status;
    return queue->device->backend.fns->queue_wait(queue->device->backend.state, queue->state);
}

mglu_status mglu_queue_notify(mglu_queue *queue, mglu_queue_callback callback, void *user)
{
    const struct opened_backend *backend;
    mglu_status status;

    if (!queue || !callback)
        return mglu_fail(MGLU_ERROR_INVALID_ARGUMENT, "queue or callback is NULL");
    backend = &queue->device->backend;
    status = mglu_device_check_fork(queue->device);
    if (status != MGLU_OK)
        return status;
    if (!backend->fns->queue_notify)
        return mglu_fail(MGLU_ERROR_UNSUPPORTED, "backend '%s' has no queue_notify", backend->fns->name);
    return backend->fns->queue_notify(backend->state, queue->state, callback, user);
}

/* ---- Waiting with a limit --------------------------------------------------------------------------------------- */

static uint64_t now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * NANOSECONDS + (uint64_t)time.tv_nsec;
}

static int can_poll(const mglu_queue *queue)
{
    return queue->device->backend.fns->queue_poll != NULL;
}

/* The status of the work, or MGLU_ERROR_TIMEOUT or MGLU_ERROR_CANCELLED while there is none, without a text. */
static mglu_status poll_until(mglu_queue *queue, uint64_t ns)
{
    const struct opened_backend *backend = &queue->device->backend;
    const uint64_t start = now();
    struct timespec pause = {.tv_nsec = FIRST_PAUSE};

    for (;;) {
        const mglu_status status = backend->fns->queue_poll(backend->state, queue->state);
        const int is_cancelled = atomic_exchange(&queue->is_cancelled, 0);
        const uint64_t passed = now() - start;

        if (status != MGLU_ERROR_TIMEOUT)
            return status;
        if (is_cancelled || passed >= ns)
            return is_cancelled ? MGLU_ERROR_CANCELLED : MGLU_ERROR_TIMEOUT;
        if ((uint64_t)pause.tv_nsec > ns - passed)
            pause.tv_nsec = (long)(ns - passed);
        nanosleep(&pause, NULL);
        pause.tv_nsec = 2 * pause.tv_nsec < LONGEST_PAUSE ? 2 * pause.tv_nsec : LONGEST_PAUSE;
    }
}

mglu_status mglu_queue_wait_for(mglu_queue *queue, uint64_t ns)
{
    mglu_status status;

    if (!queue)
        return mglu_fail(MGLU_ERROR_INVALID_ARGUMENT, "queue is NULL");
    status = mglu_device_check_fork(queue->device);
    if (status != MGLU_OK)
        return status;
    if (!can_poll(queue))
        return mglu_fail(MGLU_ERROR_UNSUPPORTED,
                         "backend '%s' has no queue_poll: its queues can only be waited for without a limit",
                         queue->device->backend.fns->name);
    status = poll_until(queue, ns);
    if (status == MGLU_ERROR_CANCELLED)
        return mglu_fail(status, "the wait was cancelled; the work on the queue is not done");
    if (status == MGLU_ERROR_TIMEOUT)
        return mglu_fail(status, "the work on the queue of '%s' is not done after %llu ns",
                         text_or_empty(queue->device->info.name), (unsigned long long)ns);
    return status;
}

void mglu_queue_cancel_wait(mglu_queue *queue)
{
    if (queue)
        atomic_store(&queue->is_cancelled, 1);
}

/* Errors of the work can no longer be reported; the thread's text is of an earlier call, and stays. */
static void wait_to_destroy(mglu_queue *queue)
{
    struct error_text saved;
    mglu_status status;

    if (!can_poll(queue))
        return;
    atomic_store(&queue->is_cancelled, 0);
    save_error(&saved);
    status = poll_until(queue, queue->destroy_ns);
    if (status != MGLU_OK && status != MGLU_ERROR_TIMEOUT)
        (void)poll_until(queue, queue->destroy_ns); /* it may have been the question that failed, not the work */
    restore_error(&saved);
}

void mglu_queue_destroy(mglu_queue **queue)
{
    mglu_context *context;
    mglu_queue *old;

    if (!queue || !*queue)
        return;
    old = *queue;
    *queue = NULL;
    context = old->device->context;
    if (is_callable(old->device)) {
        wait_to_destroy(old);
        old->device->backend.fns->queue_destroy(old->device->backend.state, old->state);
    }
    mglu_host_release(context, old, sizeof *old, _Alignof(mglu_queue));
    mglu_context_release(context);
}
