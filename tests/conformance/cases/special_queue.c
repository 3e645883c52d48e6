/* SPDX-License-Identifier: MIT */
#include "cases/special.h"

#include <stdatomic.h>
#include <stdlib.h>

/* Waits with a limit, and calls without a queue: the same results and errors as with mglu_queue_wait(). */

static const struct layout asked = {.fill = 0xff, .is_asked = true};

/* A backend without queue_poll cannot be asked; mglu_queue_wait() is then all that it has. */
static bool can_be_asked(const struct trial *trial)
{
    mglu_queue *queue = NULL;
    mglu_status status = mglu_queue_create(trial->target->device, NULL, &queue);

    outcome_expect(trial->outcome, "mglu_queue_create", status, MGLU_OK);
    if (status == MGLU_OK)
        status = mglu_queue_wait_for(queue, 0);
    if (status == MGLU_ERROR_UNSUPPORTED)
        outcome_set(trial->outcome, VERDICT_UNSUPPORTED, "%s", mglu_last_error());
    else
        outcome_expect(trial->outcome, "mglu_queue_wait_for of a queue without work", status, MGLU_OK);
    mglu_queue_destroy(&queue);
    return status == MGLU_OK;
}

static void same_results(const struct trial *trial)
{
    struct problem problem = special_problem(trial, 7, PART_BIASES | PART_RESIDUAL);
    unsigned char *waited = NULL, *y = NULL;

    if (can_be_asked(trial))
        waited = special_run(trial, &problem);
    if (waited)
        y = run_once(trial->target->device, &problem, &asked, trial->outcome);
    if (y)
        expect_same(trial->outcome, &problem, y, waited, NONE, NONE, "after mglu_queue_wait()");
    free(waited);
    free(y);
    problem_free(&problem);
}

/* A cancelled wait that finds the work done is not cancelled, and no later one is. */
static void cancelled_without_work(const struct trial *trial)
{
    struct problem problem = special_problem(trial, 0, 0);
    struct rig rig;

    if (can_be_asked(trial) && open_rig(&rig, trial->target->device, &problem, trial->outcome)) {
        free(run_on(&rig, &problem, &tight, trial->outcome));
        mglu_queue_cancel_wait(rig.queue);
        for (int i = 0; i < 2; i++)
            outcome_expect(trial->outcome, "mglu_queue_wait_for after the work",
                           mglu_queue_wait_for(rig.queue, MGLU_WAIT_FOREVER), MGLU_OK);
        free(run_on(&rig, &problem, &asked, trial->outcome));
        rig_close(&rig);
    }
    mglu_queue_cancel_wait(NULL);
    outcome_expect(trial->outcome, "mglu_queue_wait_for of NULL", mglu_queue_wait_for(NULL, 0),
                   MGLU_ERROR_INVALID_ARGUMENT);
    problem_free(&problem);
}

static void bad_routing(const struct trial *trial)
{
    const struct shape shape = {.dtypes = trial->dtypes, .h = 35, .d = 9, .n_masks = 4, .top_k = 2, .batch = 3};
    struct problem problem = problem_make(&shape, trial->random);
    struct layout layout = asked;
    struct rig rig;

    problem.ids[3] = 4;
    layout.wait = MGLU_ERROR_BAD_ROUTING;
    if (can_be_asked(trial) && open_rig(&rig, trial->target->device, &problem, trial->outcome)) {
        free(run_on(&rig, &problem, &layout, trial->outcome));
        outcome_expect(trial->outcome, "a second mglu_queue_wait_for", mglu_queue_wait_for(rig.queue, 0), MGLU_OK);
        rig_close(&rig);
    }
    problem_free(&problem);
}

/* On devices with host memory the work of a call without a queue is done when it returns; others refuse it. */
static void without_queue(const struct trial *trial)
{
    struct problem problem = special_problem(trial, 7, PART_BIASES | PART_RESIDUAL);
    unsigned char *waited = NULL, *y = NULL;
    struct rig rig, none;

    if (open_rig(&rig, trial->target->device, &problem, trial->outcome)) {
        none = rig;
        none.queue = NULL;
        waited = run_on(&rig, &problem, &tight, trial->outcome);
        if (waited && trial->target->info.host_memory)
            y = run_on(&none, &problem, &tight, trial->outcome);
        else if (waited)
            outcome_expect(
                trial->outcome, "mglu_forward without a queue",
                mglu_forward(rig.layer, NULL, &(mglu_forward_args){.struct_size = sizeof(mglu_forward_args)}),
                MGLU_ERROR_INVALID_ARGUMENT);
        rig_close(&rig);
    }
    if (y)
        expect_same(trial->outcome, &problem, y, waited, NONE, NONE, "with a queue");
    free(waited);
    free(y);
    problem_free(&problem);
}

static void bad_routing_without_queue(const struct trial *trial)
{
    const struct shape shape = {.dtypes = trial->dtypes, .h = 35, .d = 9, .n_masks = 4, .top_k = 2, .batch = 3};
    const struct layout layout = {.fill = 0xff, .wait = MGLU_ERROR_BAD_ROUTING};
    struct problem problem = problem_make(&shape, trial->random);
    struct rig rig;

    problem.ids[3] = -1;
    if (trial->target->info.host_memory && open_rig(&rig, trial->target->device, &problem, trial->outcome)) {
        struct rig none = rig;
        none.queue = NULL;
        free(run_on(&none, &problem, &layout, trial->outcome));
        outcome_expect(trial->outcome, "mglu_queue_wait after a call without a queue", mglu_queue_wait(rig.queue),
                       MGLU_OK);
        rig_close(&rig);
    }
    problem_free(&problem);
}

/* Calls of a notification, of which there must be one when a wait returns. */
struct told {
    atomic_int calls, status;
};

static void tell(void *user, mglu_status status)
{
    struct told *told = user;

    atomic_store(&told->status, (int)status);
    atomic_fetch_add(&told->calls, 1);
}

static void check_told(const struct trial *trial, const struct rig *rig, mglu_status expected)
{
    struct told told = {0};
    mglu_status status = mglu_queue_notify(rig->queue, tell, &told);

    if (status == MGLU_ERROR_UNSUPPORTED) {
        outcome_set(trial->outcome, VERDICT_UNSUPPORTED, "%s", mglu_last_error());
        return;
    }
    outcome_expect(trial->outcome, "mglu_queue_notify", status, MGLU_OK);
    outcome_expect(trial->outcome, "mglu_queue_wait", mglu_queue_wait(rig->queue), expected);
    if (told.calls != (status == MGLU_OK))
        outcome_set(trial->outcome, VERDICT_FAIL, "the callback of mglu_queue_notify() was called %d times",
                    (int)told.calls);
    else if (status == MGLU_OK)
        outcome_expect(trial->outcome, "the callback's status", (mglu_status)told.status, expected);
}

/* run_on() waits: only a forward without one leaves its errors to the notification. */
static void notify(const struct trial *trial)
{
    const struct shape shape = {.dtypes = trial->dtypes, .h = 35, .d = 9, .n_masks = 4, .top_k = 2, .batch = 3};
    struct problem problem = problem_make(&shape, trial->random);
    struct rig rig;

    if (open_rig(&rig, trial->target->device, &problem, trial->outcome)) {
        const struct layout unwaited = {.fill = 0xff, .is_left = true};

        check_told(trial, &rig, MGLU_OK);
        for (int is_bad = 0; is_bad < 2; is_bad++) {
            problem.ids[3] = is_bad ? 4 : 0;
            free(run_on(&rig, &problem, &unwaited, trial->outcome));
            check_told(trial, &rig, is_bad ? MGLU_ERROR_BAD_ROUTING : MGLU_OK);
        }
        rig_close(&rig);
    }
    problem_free(&problem);
}

const struct special_check queue_checks[] = {
    {"00-wait-for", PER_DTYPE, same_results},
    {"00-wait-for-cancelled", 0, cancelled_without_work},
    {"00-wait-for-bad-routing", 0, bad_routing},
    {"00-notify", PER_DTYPE, notify},
    {"00-without-queue", PER_DTYPE, without_queue},
    {"00-without-queue-bad-routing", 0, bad_routing_without_queue},
    {NULL, 0, NULL},
};
