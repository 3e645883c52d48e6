/* SPDX-License-Identifier: MIT */
#include "problem/forward.h"

#include <stdlib.h>
#include <string.h>

/* One forward of a small problem on any device: copies the arrays to the device and y back. */

/* Rows in the memory of a device. */
struct strip {
    mglu_memory *memory;
    size_t element, bytes;
    int64_t rows, columns, stride, offset;
};

/* What one call needs there. */
struct call {
    const struct rig *rig;
    struct strip x, y, residual, ids, p;
};

const struct layout tight = {.fill = 0xff};

static unsigned char *row_of(const struct strip *strip, unsigned char *image, int64_t row)
{
    return image + (size_t)(strip->offset + row * strip->stride) * strip->element;
}

/* `rows` without gaps (NULL: none) become a strip; all bytes around them are `fill`. */
static bool strip_open(struct strip *strip, const struct rig *rig, const void *rows, unsigned char fill,
                       struct outcome *outcome)
{
    size_t row_bytes = (size_t)strip->columns * strip->element;
    unsigned char *image;
    bool made;

    strip->bytes = (size_t)(strip->offset + (strip->rows + 1) * strip->stride) * strip->element;
    image = allocate(strip->bytes);
    memset(image, fill, strip->bytes);
    for (int64_t r = 0; rows && r < strip->rows; r++)
        memcpy(row_of(strip, image, r), (const unsigned char *)rows + (size_t)r * row_bytes, row_bytes);
    made = outcome_expect(outcome, "mglu_memory_create", mglu_memory_create(rig->device, strip->bytes, &strip->memory),
                          MGLU_OK) &&
           (strip->bytes == 0 ||
            outcome_expect(outcome, "mglu_memory_write",
                           mglu_memory_write(strip->memory, rig->queue, 0, image, strip->bytes), MGLU_OK));
    free(image);
    return made;
}

static struct strip strip_of(const struct layout *layout, int64_t rows, int64_t columns, size_t element)
{
    return (struct strip){.element = element,
                          .rows = rows,
                          .columns = columns,
                          .stride = columns + layout->gap,
                          .offset = layout->offset};
}

static mglu_input input_of(const struct strip *strip)
{
    if (!strip->memory)
        return (mglu_input){0};
    return (mglu_input){mglu_memory_data(strip->memory), (size_t)strip->offset * strip->element, strip->stride};
}

/* Uploads floats as `dtype`. */
static bool upload_floats(struct strip *strip, const struct rig *rig, const float *floats, mglu_dtype dtype,
                          struct outcome *outcome)
{
    size_t count = (size_t)(strip->rows * strip->columns);
    void *stored = allocate(count * strip->element);
    bool made =
        outcome_expect(outcome, "mglu_convert", mglu_convert(floats, MGLU_DTYPE_F32, stored, dtype, count), MGLU_OK) &&
        strip_open(strip, rig, stored, 0xff, outcome);

    free(stored);
    return made;
}

static bool upload_routing(struct call *call, const struct problem *problem, const struct layout *layout,
                           struct outcome *outcome)
{
    int64_t top_k = problem->layer.top_k, first = layout->first * top_k;

    if (!problem->ids)
        return true;
    call->ids = strip_of(layout, call->x.rows, top_k, sizeof(int32_t));
    call->p = strip_of(layout, call->x.rows, top_k, sizeof(float));
    return strip_open(&call->ids, call->rig, problem->ids + first, 0xff, outcome) &&
           strip_open(&call->p, call->rig, problem->p + first, 0xff, outcome);
}

static bool upload(struct call *call, const struct problem *problem, const struct layout *layout,
                   struct outcome *outcome)
{
    int64_t rows = layout->tokens ? layout->tokens : problem->batch, h = problem->weights.hidden_size;
    const float *residual = problem->residual ? problem->residual + layout->first * problem->columns : NULL;
    struct strip y = strip_of(layout, rows, problem->columns, mglu_dtype_size(problem->layer.y_dtype));

    call->x = strip_of(layout, rows, h, mglu_dtype_size(problem->layer.x_dtype));
    if (!upload_floats(&call->x, call->rig, problem->x + layout->first * h, problem->layer.x_dtype, outcome))
        return false;
    call->y = call->residual = y;
    if (residual && layout->residual_is_y)
        return upload_floats(&call->y, call->rig, residual, problem->layer.y_dtype, outcome) &&
               upload_routing(call, problem, layout, outcome);
    if (residual && !upload_floats(&call->residual, call->rig, residual, problem->layer.y_dtype, outcome))
        return false;
    return strip_open(&call->y, call->rig, NULL, layout->fill, outcome) &&
           upload_routing(call, problem, layout, outcome);
}

static mglu_forward_args args_of(const struct call *call, const struct layout *layout)
{
    mglu_input y = input_of(&call->y);

    return (mglu_forward_args){
        .struct_size = sizeof(mglu_forward_args),
        .batch = call->x.rows,
        .x = input_of(&call->x),
        .y = {(void *)(uintptr_t)y.data, y.byte_offset, y.row_stride},
        .residual = layout->residual_is_y ? y : input_of(&call->residual),
        .routing_ids = input_of(&call->ids),
        .routing_weights = input_of(&call->p),
        .workspace = mglu_memory_data(call->rig->workspace),
        .workspace_size = mglu_memory_size(call->rig->workspace),
    };
}

/* Copies y's rows out of their memory; all bytes around them must still be `fill`. */
static bool take_rows(const struct strip *y, unsigned char *image, unsigned char fill, unsigned char *rows,
                      struct outcome *outcome)
{
    size_t row_bytes = (size_t)y->columns * y->element;

    for (int64_t r = 0; r < y->rows; r++) {
        unsigned char *row = row_of(y, image, r);
        memcpy(rows + (size_t)r * row_bytes, row, row_bytes);
        memset(row, fill, row_bytes);
    }
    for (size_t i = 0; i < y->bytes; i++)
        if (image[i] != fill) {
            outcome_set(outcome, VERDICT_FAIL, "byte %zu of the memory of y was written, which is outside of y", i);
            return false;
        }
    return true;
}

static unsigned char *fetch(const struct call *call, const struct layout *layout, struct outcome *outcome)
{
    const struct strip *y = &call->y;
    unsigned char fill = layout->residual_is_y ? 0xff : layout->fill, *image = allocate(y->bytes);
    unsigned char *rows = allocate((size_t)(y->rows * y->columns) * y->element);
    bool taken =
        (y->bytes == 0 || outcome_expect(outcome, "mglu_memory_read",
                                         mglu_memory_read(y->memory, call->rig->queue, 0, image, y->bytes), MGLU_OK)) &&
        take_rows(y, image, fill, rows, outcome);

    free(image);
    if (taken)
        return rows;
    free(rows);
    return NULL;
}

static bool wait_as(const struct layout *layout, mglu_queue *queue, struct outcome *outcome)
{
    mglu_status status;

    if (!queue || layout->is_left)
        return true;
    if (!layout->is_asked)
        return outcome_expect(outcome, "mglu_queue_wait", mglu_queue_wait(queue), layout->wait);
    do
        status = mglu_queue_wait_for(queue, 0);
    while (status == MGLU_ERROR_TIMEOUT);
    return outcome_expect(outcome, "mglu_queue_wait_for", status, layout->wait);
}

unsigned char *run_on(const struct rig *rig, const struct problem *problem, const struct layout *layout,
                      struct outcome *outcome)
{
    struct call call = {.rig = rig};
    struct strip *strips[] = {&call.x, &call.y, &call.residual, &call.ids, &call.p};
    unsigned char *y = NULL;

    if (upload(&call, problem, layout, outcome)) {
        mglu_forward_args args = args_of(&call, layout);
        if (outcome_expect(outcome, "mglu_forward", mglu_forward(rig->layer, rig->queue, &args),
                           rig->queue ? MGLU_OK : layout->wait) &&
            wait_as(layout, rig->queue, outcome))
            y = fetch(&call, layout, outcome);
    }
    for (size_t i = 0; i < sizeof strips / sizeof strips[0]; i++)
        mglu_memory_destroy(&strips[i]->memory);
    return y;
}

unsigned char *run_once(mglu_device *device, const struct problem *problem, const struct layout *layout,
                        struct outcome *outcome)
{
    unsigned char *y = NULL;
    struct rig rig;

    if (open_rig(&rig, device, problem, outcome)) {
        y = run_on(&rig, problem, layout, outcome);
        rig_close(&rig);
    }
    return y;
}
