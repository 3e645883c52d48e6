/* SPDX-License-Identifier: MIT */
#include "check.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/** Outputs that are compared with the reference: enough to show that the timed results are correct. */
enum { CHECKED = 4 };

/** The last token's last outputs, exact, and the allowed errors of another device. */
struct wanted {
    int64_t first, count;
    double value[CHECKED], tolerance[CHECKED];
};

static bool reference_forward(const struct timed_layer *timed, mglu_layer *layer, struct wanted *wanted)
{
    const int64_t token = timed->problem->batch - 1;
    const size_t row = (size_t)timed->problem->shape.h * mglu_dtype_size(timed->problem->x_dtype);
    mglu_forward_args args = {
        .struct_size = sizeof args,
        .batch = 1,
        .x = {.data = (const char *)timed->test_data->x + (size_t)token * row},
    };
    if (timed->top_k) {
        args.routing_ids.data = timed->ids + token * timed->top_k;
        args.routing_weights.data = timed->shares + token * timed->top_k;
    }
    return mglu_forward_reference(layer, &args, mglu_layer_accuracy(timed->copies[0].layer), wanted->value,
                                  wanted->tolerance) == MGLU_OK;
}

/** A layer of the last outputs only, which is cheap. */
static bool compute_wanted(const struct timed_layer *timed, struct wanted *wanted)
{
    mglu_device *device;
    mglu_weights *weights = NULL;
    mglu_layer *layer = NULL;
    const mglu_weights_desc weights_desc = timed_layer_weights_desc(timed, wanted->first, wanted->count);
    const mglu_layer_desc layer_desc = timed_layer_layer_desc(timed, 1);
    const bool done = mglu_device_pick(timed->machine->compute.context, "ref", &device) == MGLU_OK &&
                      mglu_weights_create(device, &weights_desc, &weights) == MGLU_OK &&
                      mglu_layer_create(weights, &layer_desc, &layer) == MGLU_OK &&
                      reference_forward(timed, layer, wanted);
    mglu_layer_destroy(&layer);
    mglu_weights_destroy(&weights);
    return done;
}

static bool compare(const float *y, const struct wanted *wanted, char *failure, size_t size)
{
    for (int64_t i = 0; i < wanted->count; i++) {
        if (fabs((double)y[i] - wanted->value[i]) <= wanted->tolerance[i])
            continue;
        snprintf(failure, size, "wrong result: output %lld of the last token is %g, the reference has %g",
                 (long long)(wanted->first + i), (double)y[i], wanted->value[i]);
        return false;
    }
    return true;
}

static bool check_rows(const struct timed_layer *timed, const void *rows, char *failure, size_t size)
{
    const mglu_dtype dtype = timed->problem->x_dtype;
    const int64_t width = timed_layer_width(timed), count = width < CHECKED ? width : CHECKED;
    const size_t total = (size_t)timed->problem->batch * (size_t)width;
    struct wanted wanted = {.first = width - count, .count = count};
    float last[CHECKED];
    if (mglu_first_nonfinite(rows, dtype, total) != total) {
        snprintf(failure, size, "wrong result: not finite");
        return false;
    }
    if (!compute_wanted(timed, &wanted) ||
        mglu_convert((const char *)rows + (total - (size_t)count) * mglu_dtype_size(dtype), dtype, last, MGLU_DTYPE_F32,
                     (size_t)count) != MGLU_OK) {
        snprintf(failure, size, "reference: %s", mglu_last_error());
        return false;
    }
    return compare(last, &wanted, failure, size);
}

static bool is_right(const struct timed_layer *timed, char *failure, size_t size)
{
    const struct problem *problem = timed->problem;
    const size_t bytes = (size_t)problem->batch * (size_t)timed_layer_width(timed) * mglu_dtype_size(problem->x_dtype);
    void *rows = malloc(bytes);
    bool right = false;
    if (!rows)
        snprintf(failure, size, "out of memory");
    else if (mglu_memory_read(timed->test_data->y_memory, timed->machine->compute.queue, 0, rows, bytes) != MGLU_OK)
        snprintf(failure, size, "%s", mglu_last_error());
    else
        right = check_rows(timed, rows, failure, size);
    free(rows);
    return right;
}

void check_timed_layer(struct timed_layer *timed)
{
    if (!timed->failure[0])
        timed->wrong = !is_right(timed, timed->failure, sizeof timed->failure);
}
