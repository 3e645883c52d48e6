/* SPDX-License-Identifier: MIT */
#include "../check.h"

#include "common/core/notify.h"
#include "common/dispatch/objects.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

/* Callbacks that a driver's thread ends while the queue's waits for them, or tells them itself. */

enum { NOTIFICATIONS = 64, ROUNDS = 50 };

static atomic_int allocated;

static void *allocate(void *user, size_t size, size_t alignment)
{
    void *memory = user && *(int *)user ? NULL : malloc(size);

    allocated += memory != NULL;
    return memory;
}

static void release(void *user, void *memory, size_t size, size_t alignment)
{
    allocated--;
    free(memory);
}

struct told {
    atomic_int calls, status;
};

static void tell(void *user, mglu_status status)
{
    struct told *told = user;

    atomic_store(&told->status, (int)status);
    atomic_fetch_add(&told->calls, 1);
}

/* Of one queue: its list, and what its driver has. */
struct queue {
    mglu_host host;
    struct mglu_notifications list;
    struct mglu_notification *given[NOTIFICATIONS];
    struct told told[NOTIFICATIONS];
    mglu_status status; /* that the driver ends them with */
};

static void open_queue(struct queue *queue)
{
    *queue = (struct queue){.host = {.allocator = {NULL, allocate, release}, .fail = mglu_fail}};
    mglu_notifications_init(&queue->list, &queue->host);
    for (int i = 0; i < NOTIFICATIONS; i++) {
        queue->given[i] = mglu_notification_add(&queue->list, tell, &queue->told[i]);
        assert_non_null(queue->given[i]);
    }
}

static void *end_all(void *argument)
{
    struct queue *queue = argument;

    for (int i = 0; i < NOTIFICATIONS; i++)
        mglu_notification_end(queue->given[i], queue->status);
    return NULL;
}

static void a_wait_returns_after_every_callback_and_nothing_is_left(void **state)
{
    for (int round = 0; round < ROUNDS; round++) {
        struct queue queue;
        pthread_t driver;

        open_queue(&queue);
        queue.given[3]->copy = 1; /* the flag of its routing */
        assert_int_equal(pthread_create(&driver, NULL, end_all, &queue), 0);
        mglu_notifications_wait(&queue.list);
        for (int i = 0; i < NOTIFICATIONS; i++) {
            assert_int_equal(queue.told[i].calls, 1);
            assert_int_equal(queue.told[i].status, i == 3 ? MGLU_ERROR_BAD_ROUTING : MGLU_OK);
        }
        assert_false(mglu_notifications_left(&queue.list));
        pthread_join(driver, NULL);
        mglu_notifications_free(&queue.list);
        assert_int_equal(allocated, 0);
    }
}

/* A silent one is the driver's: it is not freed, since the driver may have it after the context. */
static void each_is_called_once_whoever_comes_first(void **state)
{
    for (int round = 0; round < ROUNDS; round++) {
        struct queue *queue = malloc(sizeof *queue);
        struct mglu_notification *left;
        pthread_t driver;

        assert_non_null(queue);
        open_queue(queue);
        queue->status = MGLU_ERROR_DEVICE;
        assert_int_equal(pthread_create(&driver, NULL, end_all, queue), 0);
        mglu_notifications_tell(&queue->list, MGLU_ERROR_DEVICE_LOST);
        mglu_notifications_wait(&queue->list);
        pthread_join(driver, NULL);
        for (int i = 0; i < NOTIFICATIONS; i++)
            assert_int_equal(queue->told[i].calls, 1);
        assert_int_equal(allocated > 0, mglu_notifications_left(&queue->list));
        while ((left = queue->list.first))
            mglu_notification_drop(left);
        assert_int_equal(allocated, 0);
        mglu_notifications_free(&queue->list);
        free(queue);
    }
}

static void one_that_is_silenced_is_not_called(void **state)
{
    struct queue queue;

    open_queue(&queue);
    mglu_notification_silence(queue.given[0]);
    mglu_notification_drop(queue.given[1]);
    mglu_notification_end(queue.given[0], MGLU_OK);
    mglu_notifications_tell(&queue.list, MGLU_ERROR_DEVICE_LOST);
    assert_int_equal(queue.told[0].calls + queue.told[1].calls, 0);
    assert_false(mglu_notifications_due(&queue.list));
    assert_int_equal(queue.told[2].status, MGLU_ERROR_DEVICE_LOST);
    while (queue.list.first)
        mglu_notification_drop(queue.list.first);
    mglu_notifications_free(&queue.list);
}

static void without_memory_there_is_none(void **state)
{
    int is_empty = 1;
    mglu_host host = {.allocator = {&is_empty, allocate, release}, .fail = mglu_fail};
    struct mglu_notifications list;

    mglu_notifications_init(&list, &host);
    assert_null(mglu_notification_add(&list, tell, NULL));
    assert_error_says("out of memory");
    assert_false(mglu_notifications_left(&list));
    mglu_notifications_free(&list);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_wait_returns_after_every_callback_and_nothing_is_left),
        cmocka_unit_test(each_is_called_once_whoever_comes_first),
        cmocka_unit_test(one_that_is_silenced_is_not_called),
        cmocka_unit_test(without_memory_there_is_none),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
