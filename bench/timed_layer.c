/* SPDX-License-Identifier: MIT */
#include "timed_layer.h"

#include "draw.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/** In a shorter sample the clock, or the wait for a device, would dominate. */
static const double host_sample_seconds = 1e-3, device_sample_seconds = 5e-3;
static const int64_t most_calls = 1000;

static bool fail(struct timed_layer *timed, const char *reason)
{
    snprintf(timed->failure, sizeof timed->failure, "%s", reason);
    return false;
}

static bool succeed(struct timed_layer *timed, mglu_status status)
{
    return status == MGLU_OK || fail(timed, mglu_last_error());
}

const char *timed_layer_what(const struct timed_layer *timed)
{
    if (!timed->n_masks)
        return "glu";
    return timed->top_k ? "routed" : "mglu";
}

int64_t timed_layer_width(const struct timed_layer *timed)
{
    const struct problem *problem = timed->problem;
    return problem->op == OP_FFN ? problem->shape.h : problem->shape.d;
}

/** A matrix of the test data from a row on. */
static mglu_array matrix_from(const struct test_data *test_data, const void *matrix, int64_t row, int64_t columns)
{
    const size_t bytes = (size_t)row * (size_t)columns * mglu_dtype_size(test_data->dtype);
    return (mglu_array){.data = (const char *)matrix + bytes, .dtype = test_data->dtype};
}

mglu_weights_desc timed_layer_weights_desc(const struct timed_layer *timed, int64_t first, int64_t count)
{
    const struct test_data *test_data = timed->test_data;
    const struct shape shape = timed->problem->shape;
    const bool ffn = timed->problem->op == OP_FFN;
    const int64_t row = ffn ? 0 : first;
    mglu_weights_desc desc = {
        .struct_size = sizeof desc,
        .kind = timed->n_masks ? MGLU_KIND_MASKED : MGLU_KIND_PLAIN,
        .dtype = timed->problem->dtype,
        .hidden_size = shape.h,
        .intermediate_size = ffn ? shape.d : count,
        .output_size = ffn ? count : 0,
        .n_masks = timed->n_masks,
        .weight = matrix_from(test_data, test_data->weight, row, shape.h),
    };
    if (ffn)
        desc.down = matrix_from(test_data, test_data->value, first, shape.d);
    if (!timed->n_masks) {
        desc.value_weight = matrix_from(test_data, test_data->value, row, shape.h);
        return desc;
    }
    desc.masks.form = MGLU_MASK_WORDS;
    desc.masks.data = (const char *)test_data->masks + mglu_packed_mask_offset(timed->n_masks, shape.h, row, 0, 0);
    return desc;
}

mglu_layer_desc timed_layer_layer_desc(const struct timed_layer *timed, int64_t max_batch)
{
    return (mglu_layer_desc){
        .struct_size = sizeof(mglu_layer_desc),
        .flags = timed->problem->quantised_x ? MGLU_LAYER_ALLOW_QUANTISED_X : 0,
        .x_dtype = timed->problem->x_dtype,
        .y_dtype = timed->problem->x_dtype,
        .top_k = timed->top_k,
        .max_batch = max_batch,
    };
}

static bool make_copy(struct timed_layer *timed, struct copy *copy)
{
    const mglu_weights_desc weights = timed_layer_weights_desc(timed, 0, timed_layer_width(timed));
    const mglu_layer_desc layer = timed_layer_layer_desc(timed, timed->problem->batch);
    return succeed(timed, mglu_supports(timed->machine->compute.device, &weights, &layer)) &&
           succeed(timed, mglu_weights_create(timed->machine->compute.device, &weights, &copy->weights)) &&
           succeed(timed, mglu_layer_create(copy->weights, &layer, &copy->layer));
}

/** Number of copies of a cold layer's weights: together they must exceed the cache. */
static size_t wanted_copies(const struct timed_layer *timed)
{
    const uint64_t cold = (uint64_t)timed->machine->cold_bytes;
    return timed->problem->regime == REGIME_COLD ? (size_t)((cold + timed->bytes - 1) / timed->bytes) : 1;
}

static bool make_copies(struct timed_layer *timed)
{
    struct copy first = {0};
    mglu_layer_info info = MGLU_LAYER_INFO_INIT;
    layer_log_clear(timed->machine->layers);
    if (!make_copy(timed, &first) || !succeed(timed, mglu_layer_get_info(first.layer, &info))) {
        mglu_layer_destroy(&first.layer);
        mglu_weights_destroy(&first.weights);
        return false;
    }
    layer_log_kernels(timed->machine->layers, timed->kernel, sizeof timed->kernel);
    timed->bytes = info.weight_bytes;
    timed->flops = (double)info.operations * (double)timed->problem->batch;
    timed->copy_count = wanted_copies(timed);
    timed->copies = calloc(timed->copy_count, sizeof *timed->copies);
    if (!timed->copies)
        return fail(timed, "out of memory");
    timed->copies[0] = first;
    for (size_t i = 1; i < timed->copy_count; i++)
        if (!make_copy(timed, &timed->copies[i]))
            return false;
    return true;
}

static bool put(struct timed_layer *timed, const void *data, size_t size, mglu_memory **memory)
{
    const struct compute *compute = &timed->machine->compute;
    return succeed(timed, mglu_memory_create(compute->device, size, memory)) &&
           succeed(timed, mglu_memory_write(*memory, compute->queue, 0, data, size));
}

static bool make_routing(struct timed_layer *timed)
{
    struct random random = {.state = 3};
    const size_t count = (size_t)timed->problem->batch * (size_t)timed->top_k;
    if (!count)
        return true;
    timed->ids = calloc(count, sizeof *timed->ids);
    timed->shares = calloc(count, sizeof *timed->shares);
    if (!timed->ids || !timed->shares)
        return fail(timed, "out of memory");
    draw_routing(&random, timed->problem->batch, timed->top_k, timed->n_masks, timed->ids, timed->shares);
    if (!put(timed, timed->ids, count * sizeof *timed->ids, &timed->ids_memory) ||
        !put(timed, timed->shares, count * sizeof *timed->shares, &timed->shares_memory))
        return false;
    timed->args.routing_ids.data = mglu_memory_data(timed->ids_memory);
    timed->args.routing_weights.data = mglu_memory_data(timed->shares_memory);
    return true;
}

static bool make_arguments(struct timed_layer *timed)
{
    const size_t size = mglu_layer_workspace_size(timed->copies[0].layer);
    if (!succeed(timed, mglu_memory_create(timed->machine->compute.device, size, &timed->workspace)))
        return false;
    timed->args = (mglu_forward_args){
        .struct_size = sizeof timed->args,
        .batch = timed->problem->batch,
        .x = {.data = mglu_memory_data(timed->test_data->x_memory)},
        .y = {.data = mglu_memory_data(timed->test_data->y_memory)},
        .workspace = mglu_memory_data(timed->workspace),
        .workspace_size = size,
    };
    return make_routing(timed);
}

/** Calls the layer with one copy after the other, then waits once. Returns seconds, 0 on failure. */
static double run_calls(struct timed_layer *timed, int64_t calls)
{
    mglu_queue *queue = timed->machine->compute.queue;
    const struct timer *timer = &timed->machine->timer;
    const double begin = timer_begin(timer);
    mglu_status status = MGLU_OK;
    for (int64_t i = 0; i < calls && status == MGLU_OK; i++) {
        status = mglu_forward(timed->copies[timed->next].layer, queue, &timed->args);
        timed->next = (timed->next + 1) % timed->copy_count;
    }
    timer_end(timer);
    if (status == MGLU_OK)
        status = mglu_queue_wait(queue);
    const double seconds = succeed(timed, status) ? timer_seconds(timer, begin) : 0;
    if (status == MGLU_OK && seconds <= 0)
        fail(timed, "the device's events have no time");
    return seconds;
}

/** The first call maps memory and wakes threads; the second determines the calls of a sample. */
static bool calibrate(struct timed_layer *timed)
{
    if (run_calls(timed, 1) <= 0)
        return false;
    const double sample = timed->machine->compute.info.host_memory ? host_sample_seconds : device_sample_seconds;
    const double seconds = run_calls(timed, 1);
    const double calls = seconds > 0 ? ceil(sample / seconds) : 0;
    timed->calls = calls < 1 ? 1 : calls > (double)most_calls ? most_calls : (int64_t)calls;
    return seconds > 0;
}

void timed_layer_open(struct timed_layer *timed, const struct problem *problem, const struct machine *machine,
                      const struct test_data *test_data, int32_t n_masks, int32_t top_k)
{
    struct random random = {.state = 4};
    *timed = (struct timed_layer){
        .problem = problem,
        .machine = machine,
        .test_data = test_data,
        .n_masks = n_masks,
        .top_k = top_k,
    };
    if (n_masks)
        draw_masks(&random, n_masks, problem->shape.d, problem->shape.h, test_data->masks);
    if (make_copies(timed) && make_arguments(timed))
        calibrate(timed);
}

void timed_layer_close(struct timed_layer *timed)
{
    for (size_t i = 0; i < timed->copy_count && timed->copies; i++) {
        mglu_layer_destroy(&timed->copies[i].layer);
        mglu_weights_destroy(&timed->copies[i].weights);
    }
    mglu_memory_destroy(&timed->workspace);
    mglu_memory_destroy(&timed->ids_memory);
    mglu_memory_destroy(&timed->shares_memory);
    free(timed->copies);
    free(timed->ids);
    free(timed->shares);
    timed->copies = NULL;
    timed->ids = NULL;
    timed->shares = NULL;
}

double timed_layer_time(struct timed_layer *timed)
{
    /* As in a model, a layer's threads have just computed another one: the first call wakes them. Peers do the same. */
    if (run_calls(timed, 1) <= 0)
        return 0;
    return run_calls(timed, timed->calls) / (double)timed->calls;
}

double timed_layer_dispatch(const struct timed_layer *timed)
{
    enum { CALLS = 10000 };
    mglu_forward_args args = timed->args;
    args.batch = 0;
    const double begin = compute_seconds();
    for (int i = 0; i < CALLS; i++)
        if (mglu_forward(timed->copies[0].layer, timed->machine->compute.queue, &args) != MGLU_OK)
            return 0;
    return (compute_seconds() - begin) / CALLS;
}
