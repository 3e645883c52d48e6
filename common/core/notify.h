/* SPDX-License-Identifier: MIT */
#ifndef MGLU_CORE_NOTIFY_H
#define MGLU_CORE_NOTIFY_H

#include <mglu/backend.h>

#include <pthread.h>

/*
 * Callbacks of mglu_queue_notify() in backends whose driver calls them from a thread of its own. Each is called once:
 * by the driver, or by a wait or the end of the queue where the driver may never do it.
 */

/* CALLING: by the driver. SILENT: the driver has it still, and must not call it. */
enum mglu_notification_state { MGLU_NOTIFICATION_DUE, MGLU_NOTIFICATION_CALLING, MGLU_NOTIFICATION_SILENT };

struct mglu_notification {
    struct mglu_notification *next;
    struct mglu_notifications *list;
    mglu_queue_callback callback;
    void *user;
    enum mglu_notification_state state;
    const int32_t *bad_routing; /* a flag that is valid until the end of the work: the queue's, or `copy` */
    int32_t copy;
};

/* Those of a queue that the driver has. */
struct mglu_notifications {
    const mglu_host *host;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct mglu_notification *first;
};

void mglu_notifications_init(struct mglu_notifications *list, const mglu_host *host);
void mglu_notifications_free(struct mglu_notifications *list);

/* NULL and the error set where there is no memory. */
struct mglu_notification *mglu_notification_add(struct mglu_notifications *list, mglu_queue_callback callback,
                                                void *user);
/* For one that could not be given to the driver: it is forgotten. */
void mglu_notification_drop(struct mglu_notification *notification);
/* For one that the driver may still write to: it is not called, and stays. */
void mglu_notification_silence(struct mglu_notification *notification);
/* In a thread of the driver's, once its work is done. MGLU_OK becomes MGLU_ERROR_BAD_ROUTING where the flag is set. */
void mglu_notification_end(struct mglu_notification *notification, mglu_status status);

/* Whether the driver has one, so that the memory of the queue must stay. */
int mglu_notifications_left(struct mglu_notifications *list);
/* Whether one is not over, and a wait for that. */
int mglu_notifications_due(struct mglu_notifications *list);
void mglu_notifications_wait(struct mglu_notifications *list);
/* Calls those that are due in the driver's place. */
void mglu_notifications_tell(struct mglu_notifications *list, mglu_status status);

#endif
