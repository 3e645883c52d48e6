/* SPDX-License-Identifier: MIT */
#ifndef MGLU_TEST_SCRIPT_H
#define MGLU_TEST_SCRIPT_H

#include "sample.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

/*
 * A host's use of a backend in steps, in which any one call of the driver fails: the step reports it with the driver's
 * function and code, and works when it is tried again, with the right bits. A device that is lost says so, and another
 * context works.
 */

enum { SCRIPT_BATCH = 2, SCRIPT_MOST = 512 /* numbers in x or y */ };

/* A driver whose calls can be made to fail. */
struct script_driver {
    const char *backend;
    /* Call number k from now on, from 0 on, fails; with `stays` all later ones too. */
    void (*break_at)(int k, int code, int stays);
    void (*heal)(void);
    /* The driver's function that failed since; "" if there was no such call. */
    const char *(*failed)(void);
    /* Fails the test if the driver holds any object. */
    void (*expect_nothing_held)(void);
};

/* A result of the driver, and what it becomes. */
struct script_failure {
    int code, stays;
    const char *text;
    mglu_status status;
};

struct script {
    const struct script_driver *driver;
    struct sample sample;
    mglu_layer_desc layer;
    struct rig rig;
    mglu_memory *x, *y;
    int64_t columns;
    float from[SCRIPT_MOST], got[SCRIPT_MOST];
    mglu_status status; /* of the step that failed, or MGLU_OK */
    char text[512];
    int notifications; /* that were asked for */
    atomic_int calls;  /* of them that were told */
};

static inline struct script script_make(const struct script_driver *driver, const struct sample_shape *shape,
                                        int32_t top_k)
{
    struct script script = {.driver = driver, .sample = sample_make(shape, 5)};
    uint32_t seed = 3;

    script.layer = (mglu_layer_desc){.struct_size = sizeof script.layer, .top_k = top_k, .max_batch = SCRIPT_BATCH};
    script.columns = shape->parts & WITH_DOWN ? shape->out : shape->d;
    assert_in_range(SCRIPT_BATCH * script.columns, 1, SCRIPT_MOST);
    assert_in_range(SCRIPT_BATCH * shape->h, 1, SCRIPT_MOST);
    for (int64_t i = 0; i < SCRIPT_BATCH * shape->h; i++)
        script.from[i] = sample_number(&seed);
    return script;
}

static inline size_t script_x_bytes(const struct script *script)
{
    return (size_t)(SCRIPT_BATCH * script->sample.desc.hidden_size) * sizeof(float);
}

static inline size_t script_y_bytes(const struct script *script)
{
    return (size_t)(SCRIPT_BATCH * script->columns) * sizeof(float);
}

static inline mglu_status script_open(struct script *script)
{
    return mglu_context_create(NULL, &script->rig.context);
}

static inline mglu_status script_pick(struct script *script)
{
    return mglu_device_pick(script->rig.context, script->driver->backend, &script->rig.device);
}

static inline mglu_status script_queue(struct script *script)
{
    return mglu_queue_create(script->rig.device, NULL, &script->rig.queue);
}

static inline mglu_status script_weights(struct script *script)
{
    return mglu_weights_create(script->rig.device, &script->sample.desc, &script->rig.weights);
}

static inline mglu_status script_layer(struct script *script)
{
    return mglu_layer_create(script->rig.weights, &script->layer, &script->rig.layer);
}

static inline mglu_status script_workspace(struct script *script)
{
    return mglu_memory_create(script->rig.device, mglu_layer_workspace_size(script->rig.layer), &script->rig.workspace);
}

static inline mglu_status script_make_x(struct script *script)
{
    return mglu_memory_create(script->rig.device, script_x_bytes(script), &script->x);
}

static inline mglu_status script_make_y(struct script *script)
{
    return mglu_memory_create(script->rig.device, script_y_bytes(script), &script->y);
}

static inline mglu_status script_write(struct script *script)
{
    return mglu_memory_write(script->x, script->rig.queue, 0, script->from, script_x_bytes(script));
}

static inline mglu_status script_forward(struct script *script)
{
    return rig_forward(&script->rig, (mglu_forward_args){.batch = SCRIPT_BATCH,
                                                         .x.data = mglu_memory_data(script->x),
                                                         .y.data = mglu_memory_data(script->y)});
}

static inline void script_count(void *user, mglu_status status)
{
    atomic_fetch_add((atomic_int *)user, 1);
}

static inline mglu_status script_notify(struct script *script)
{
    const mglu_status status = mglu_queue_notify(script->rig.queue, script_count, &script->calls);

    script->notifications += status == MGLU_OK;
    return status;
}

static inline mglu_status script_wait(struct script *script)
{
    return mglu_queue_wait(script->rig.queue);
}

static inline mglu_status script_ask(struct script *script)
{
    return mglu_queue_wait_for(script->rig.queue, MGLU_WAIT_FOREVER);
}

static inline mglu_status script_read(struct script *script)
{
    return mglu_memory_read(script->y, script->rig.queue, 0, script->got, script_y_bytes(script));
}

static inline void script_free(struct script *script)
{
    mglu_memory_destroy(&script->x);
    mglu_memory_destroy(&script->y);
    rig_free(&script->rig);
    sample_free(&script->sample);
    assert_int_equal(script->calls, script->notifications);
}

/* Runs a step, and once more where it fails. A device that could not be listed is listed by the next context. */
static inline mglu_status script_try(struct script *script, mglu_status (*step)(struct script *script))
{
    mglu_status status = step(script);

    if (status == MGLU_OK)
        return status;
    if (script->status == MGLU_OK) {
        script->status = status;
        snprintf(script->text, sizeof script->text, "%s", mglu_last_error());
    }
    if (status == MGLU_ERROR_DEVICE_LOST)
        return status;
    script->driver->heal();
    if (status == MGLU_ERROR_NO_DEVICE) {
        mglu_context_destroy(&script->rig.context);
        assert_ok(script_open(script));
    }
    assert_ok(step(script));
    return MGLU_OK;
}

/* All steps, up to one that finds the device lost. */
static inline void script_run(struct script *script)
{
    mglu_status (*const steps[])(struct script *) = {
        script_open,    script_pick,   script_queue, script_weights, script_layer,  script_workspace,
        script_make_x,  script_make_y, script_write, script_forward, script_notify, script_wait,
        script_forward, script_notify, script_ask,   script_read,
    };

    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++)
        if (script_try(script, steps[i]) != MGLU_OK)
            return;
}

static inline void script_expect_text(const struct script *script, int k, const struct script_failure *failure)
{
    const char *call = script->driver->failed();

    if (script->status != failure->status && script->status != MGLU_ERROR_NO_DEVICE)
        fail_msg("call %d, %s, fails with %s: %s (%s)", k, call, failure->text, mglu_status_string(script->status),
                 script->text);
    /* Of failures that stay, the first may be of a call that releases something: the next call reports it. */
    if ((!failure->stays && !strstr(script->text, call)) || !strstr(script->text, failure->text))
        fail_msg("call %d, %s, fails with %s, which the text does not say: %s", k, call, failure->text, script->text);
}

/* One run in which call number k fails. Returns whether there is such a call. */
static inline int script_fail_at(const struct script_driver *driver, const struct sample_shape *shape, int32_t top_k,
                                 int k, const struct script_failure *failure, const float *want)
{
    struct script script = script_make(driver, shape, top_k);
    int exists, is_lost;

    driver->break_at(k, failure->code, failure->stays);
    script_run(&script);
    is_lost = script.status == MGLU_ERROR_DEVICE_LOST;
    exists = driver->failed()[0] != '\0';
    if (script.status != MGLU_OK)
        script_expect_text(&script, k, failure);
    if (!is_lost && memcmp(script.got, want, script_y_bytes(&script)) != 0)
        fail_msg("call %d, %s, fails with %s: y is wrong", k, driver->failed(), failure->text);
    script_free(&script); /* destroying calls the driver too, while a failure that stays does */
    exists |= driver->failed()[0] != '\0';
    driver->heal();
    driver->expect_nothing_held();
    return exists;
}

static inline void script_fail_everywhere(const struct script_driver *driver, const struct sample_shape *shape,
                                          int32_t top_k, const struct script_failure *failures, size_t count)
{
    struct script healthy = script_make(driver, shape, top_k), after;
    int calls = 0;

    driver->heal();
    script_run(&healthy);
    assert_int_equal(healthy.status, MGLU_OK);
    script_free(&healthy);
    for (size_t i = 0; i < count; i++) {
        for (calls = 0; script_fail_at(driver, shape, top_k, calls, &failures[i], healthy.got);)
            calls++;
        print_message("%s: %d calls fail, each with %s\n", driver->backend, calls, failures[i].text);
        assert_true(calls > 30);
    }
    after = script_make(driver, shape, top_k);
    script_run(&after);
    assert_int_equal(after.status, MGLU_OK);
    assert_memory_equal(after.got, healthy.got, script_y_bytes(&after));
    script_free(&after);
}

#endif
