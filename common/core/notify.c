/* SPDX-License-Identifier: MIT */
#include "common/core/notify.h"

void mglu_notifications_init(struct mglu_notifications *list, const mglu_host *host)
{
    *list = (struct mglu_notifications){.host = host};
    pthread_mutex_init(&list->lock, NULL);
    pthread_cond_init(&list->changed, NULL);
}

void mglu_notifications_free(struct mglu_notifications *list)
{
    pthread_cond_destroy(&list->changed);
    pthread_mutex_destroy(&list->lock);
}

struct mglu_notification *mglu_notification_add(struct mglu_notifications *list, mglu_queue_callback callback,
                                                void *user)
{
    const mglu_allocator *allocator = &list->host->allocator;
    struct mglu_notification *made =
        allocator->allocate(allocator->user, sizeof *made, _Alignof(struct mglu_notification));

    if (!made) {
        list->host->fail(MGLU_ERROR_OUT_OF_MEMORY, "out of memory");
        return NULL;
    }
    *made = (struct mglu_notification){.list = list, .callback = callback, .user = user, .bad_routing = &made->copy};
    pthread_mutex_lock(&list->lock);
    made->next = list->first;
    list->first = made;
    pthread_mutex_unlock(&list->lock);
    return made;
}

/* With the lock: behind it the list, and the allocator with its context, may be gone. */
static void forget(struct mglu_notification *notification)
{
    struct mglu_notifications *list = notification->list;
    const mglu_allocator *allocator = &list->host->allocator;
    struct mglu_notification **at = &list->first;

    while (*at != notification)
        at = &(*at)->next;
    *at = notification->next;
    allocator->release(allocator->user, notification, sizeof *notification, _Alignof(struct mglu_notification));
    pthread_cond_broadcast(&list->changed);
}

void mglu_notification_drop(struct mglu_notification *notification)
{
    struct mglu_notifications *list = notification->list;

    pthread_mutex_lock(&list->lock);
    forget(notification);
    pthread_mutex_unlock(&list->lock);
}

/* Whether it was due until now. */
static int claim(struct mglu_notification *notification, enum mglu_notification_state state)
{
    struct mglu_notifications *list = notification->list;
    int was_due;

    pthread_mutex_lock(&list->lock);
    was_due = notification->state == MGLU_NOTIFICATION_DUE;
    if (was_due)
        notification->state = state;
    pthread_mutex_unlock(&list->lock);
    return was_due;
}

void mglu_notification_silence(struct mglu_notification *notification)
{
    (void)claim(notification, MGLU_NOTIFICATION_SILENT);
}

/* A silent one stays: the context, and its allocator, may have been destroyed since. */
void mglu_notification_end(struct mglu_notification *notification, mglu_status status)
{
    if (!claim(notification, MGLU_NOTIFICATION_CALLING))
        return;
    if (status == MGLU_OK && *notification->bad_routing)
        status = MGLU_ERROR_BAD_ROUTING;
    notification->callback(notification->user, status);
    mglu_notification_drop(notification);
}

int mglu_notifications_left(struct mglu_notifications *list)
{
    int is_left;

    pthread_mutex_lock(&list->lock);
    is_left = list->first != NULL;
    pthread_mutex_unlock(&list->lock);
    return is_left;
}

/* With the lock: the first that is not silent. */
static struct mglu_notification *first_due(struct mglu_notifications *list)
{
    struct mglu_notification *next = list->first;

    while (next && next->state == MGLU_NOTIFICATION_SILENT)
        next = next->next;
    return next;
}

int mglu_notifications_due(struct mglu_notifications *list)
{
    int is_due;

    pthread_mutex_lock(&list->lock);
    is_due = first_due(list) != NULL;
    pthread_mutex_unlock(&list->lock);
    return is_due;
}

void mglu_notifications_wait(struct mglu_notifications *list)
{
    pthread_mutex_lock(&list->lock);
    while (first_due(list))
        pthread_cond_wait(&list->changed, &list->lock);
    pthread_mutex_unlock(&list->lock);
}

static struct mglu_notification *silence_next(struct mglu_notifications *list)
{
    struct mglu_notification *next;

    pthread_mutex_lock(&list->lock);
    next = list->first;
    while (next && next->state != MGLU_NOTIFICATION_DUE)
        next = next->next;
    if (next)
        next->state = MGLU_NOTIFICATION_SILENT;
    pthread_mutex_unlock(&list->lock);
    return next;
}

void mglu_notifications_tell(struct mglu_notifications *list, mglu_status status)
{
    struct mglu_notification *next;

    while ((next = silence_next(list)))
        next->callback(next->user, status);
}
