/* SPDX-License-Identifier: MIT */
#include "timed_layer.h"

#include "draw.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/** A shorter sample says more about the clock than about the layer, or about the wait for a device. */
static const double host_sample_seconds = 1e-3, device_sample_seconds = 5e-3;
static const int64_t most_calls = 1000;

static bool fail(struct subject *subject, const char *reason)
{
    snprintf(subject->failure, sizeof subject->failure, "%s", reason);
    return false;
}

static bool succeed(struct subject *subject, mglu_status status)
{
    return status == MGLU_OK || fail(subject, mglu_last_error());
}

const char *subject_what(const struct subject *subject)
{
    if (!subject->n_masks)
        return "glu";
    return subject->top_k ? "routed" : "mglu";
}

int64_t subject_width(const struct subject *subject)
{
    const struct problem *problem = subject->problem;
    return problem->op == OP_FFN ? problem->shape.h : problem->shape.d;
}

/** A matrix of the material from a row on. */
static mglu_array matrix_from(const struct material *material, const void *matrix, int64_t row, int64_t columns)
{
    const size_t bytes = (size_t)row * (size_t)columns * mglu_dtype_size(material->dtype);
    return (mglu_array){.data = (const char *)matrix + bytes, .dtype = material->dtype};
}

mglu_weights_desc subject_weights_desc(const struct subject *subject, int64_t first, int64_t count)
{
    const struct material *material = subject->material;
    const struct shape shape = subject->problem->shape;
    const bool ffn = subject->problem->op == OP_FFN;
    const int64_t row = ffn ? 0 : first;
    mglu_weights_desc desc = {
        .struct_size = sizeof desc,
        .kind = subject->n_masks ? MGLU_KIND_MASKED : MGLU_KIND_PLAIN,
        .dtype = subject->problem->dtype,
        .hidden_size = shape.h,
        .intermediate_size = ffn ? shape.d : count,
        .output_size = ffn ? count : 0,
        .n_masks = subject->n_masks,
        .weight = matrix_from(material, material->weight, row, shape.h),
    };
    if (ffn)
        desc.down = matrix_from(material, material->value, first, shape.d);
    if (!subject->n_masks) {
        desc.value_weight = matrix_from(material, material->value, row, shape.h);
        return desc;
    }
    desc.masks.form = MGLU_MASK_WORDS;
    desc.masks.data = (const char *)material->masks + mglu_packed_mask_offset(subject->n_masks, shape.h, row, 0, 0);
    return desc;
}

mglu_layer_desc subject_layer_desc(const struct subject *subject, int64_t max_batch)
{
    return (mglu_layer_desc){
        .struct_size = sizeof(mglu_layer_desc),
        .flags = subject->problem->quantised_x ? MGLU_LAYER_ALLOW_QUANTISED_X : 0,
        .x_dtype = subject->problem->x_dtype,
        .y_dtype = subject->problem->x_dtype,
        .top_k = subject->top_k,
        .max_batch = max_batch,
    };
}

static bool make_copy(struct subject *subject, struct copy *copy)
{
    const mglu_weights_desc weights = subject_weights_desc(subject, 0, subject_width(subject));
    const mglu_layer_desc layer = subject_layer_desc(subject, subject->problem->batch);
    return succeed(subject, mglu_supports(subject->machine->compute.device, &weights, &layer)) &&
           succeed(subject, mglu_weights_create(subject->machine->compute.device, &weights, &copy->weights)) &&
           succeed(subject, mglu_layer_create(copy->weights, &layer, &copy->layer));
}

/** Copies that a cold layer rotates over: together they must not fit into the cache. */
static size_t wanted_copies(const struct subject *subject)
{
    const uint64_t cold = (uint64_t)subject->machine->cold_bytes;
    return subject->problem->regime == REGIME_COLD ? (size_t)((cold + subject->bytes - 1) / subject->bytes) : 1;
}

static bool make_copies(struct subject *subject)
{
    struct copy first = {0};
    mglu_weights_info info = {.struct_size = sizeof info};
    if (!make_copy(subject, &first) || !succeed(subject, mglu_weights_get_info(first.weights, &info))) {
        mglu_layer_destroy(&first.layer);
        mglu_weights_destroy(&first.weights);
        return false;
    }
    /* Without biases and routers, what a whole block holds is its three matrices and the masks. */
    subject->bytes = subject->problem->op == OP_FFN ? info.device_bytes : info.projection_bytes;
    subject->copy_count = wanted_copies(subject);
    subject->copies = calloc(subject->copy_count, sizeof *subject->copies);
    if (!subject->copies)
        return fail(subject, "out of memory");
    subject->copies[0] = first;
    for (size_t i = 1; i < subject->copy_count; i++)
        if (!make_copy(subject, &subject->copies[i]))
            return false;
    return true;
}

static bool put(struct subject *subject, const void *data, size_t size, mglu_memory **memory)
{
    const struct compute *compute = &subject->machine->compute;
    return succeed(subject, mglu_memory_create(compute->device, size, memory)) &&
           succeed(subject, mglu_memory_write(*memory, compute->queue, 0, data, size));
}

static bool make_routing(struct subject *subject)
{
    struct random random = {.state = 3};
    const size_t count = (size_t)subject->problem->batch * (size_t)subject->top_k;
    if (!count)
        return true;
    subject->ids = calloc(count, sizeof *subject->ids);
    subject->shares = calloc(count, sizeof *subject->shares);
    if (!subject->ids || !subject->shares)
        return fail(subject, "out of memory");
    draw_routing(&random, subject->problem->batch, subject->top_k, subject->n_masks, subject->ids, subject->shares);
    if (!put(subject, subject->ids, count * sizeof *subject->ids, &subject->ids_memory) ||
        !put(subject, subject->shares, count * sizeof *subject->shares, &subject->shares_memory))
        return false;
    subject->args.routing_ids.data = mglu_memory_data(subject->ids_memory);
    subject->args.routing_weights.data = mglu_memory_data(subject->shares_memory);
    return true;
}

static bool make_arguments(struct subject *subject)
{
    const size_t size = mglu_layer_workspace_size(subject->copies[0].layer);
    if (!succeed(subject, mglu_memory_create(subject->machine->compute.device, size, &subject->workspace)))
        return false;
    subject->args = (mglu_forward_args){
        .struct_size = sizeof subject->args,
        .batch = subject->problem->batch,
        .x = {.data = mglu_memory_data(subject->material->x_memory)},
        .y = {.data = mglu_memory_data(subject->material->y_memory)},
        .workspace = mglu_memory_data(subject->workspace),
        .workspace_size = size,
    };
    return make_routing(subject);
}

/** Calls the layer with one copy after the other, then waits once. Returns seconds, 0 on failure. */
static double run_calls(struct subject *subject, int64_t calls)
{
    mglu_queue *queue = subject->machine->compute.queue;
    const struct timer *timer = &subject->machine->timer;
    const double begin = timer_begin(timer);
    mglu_status status = MGLU_OK;
    for (int64_t i = 0; i < calls && status == MGLU_OK; i++) {
        status = mglu_forward(subject->copies[subject->next].layer, queue, &subject->args);
        subject->next = (subject->next + 1) % subject->copy_count;
    }
    timer_end(timer);
    if (status == MGLU_OK)
        status = mglu_queue_wait(queue);
    const double seconds = succeed(subject, status) ? timer_seconds(timer, begin) : 0;
    if (status == MGLU_OK && seconds <= 0)
        fail(subject, "the device's events tell no time");
    return seconds;
}

/** The first call maps memory and wakes threads; the second tells how many a sample needs. */
static bool calibrate(struct subject *subject)
{
    if (run_calls(subject, 1) <= 0)
        return false;
    const double sample = subject->machine->compute.info.host_memory ? host_sample_seconds : device_sample_seconds;
    const double seconds = run_calls(subject, 1);
    const double calls = seconds > 0 ? ceil(sample / seconds) : 0;
    subject->calls = calls < 1 ? 1 : calls > (double)most_calls ? most_calls : (int64_t)calls;
    return seconds > 0;
}

void subject_open(struct subject *subject, const struct problem *problem, const struct machine *machine,
                  const struct material *material, int32_t n_masks, int32_t top_k)
{
    struct random random = {.state = 4};
    *subject = (struct subject){
        .problem = problem,
        .machine = machine,
        .material = material,
        .n_masks = n_masks,
        .top_k = top_k,
    };
    if (n_masks)
        draw_masks(&random, n_masks, problem->shape.d, problem->shape.h, material->masks);
    if (make_copies(subject) && make_arguments(subject))
        calibrate(subject);
}

void subject_close(struct subject *subject)
{
    for (size_t i = 0; i < subject->copy_count && subject->copies; i++) {
        mglu_layer_destroy(&subject->copies[i].layer);
        mglu_weights_destroy(&subject->copies[i].weights);
    }
    mglu_memory_destroy(&subject->workspace);
    mglu_memory_destroy(&subject->ids_memory);
    mglu_memory_destroy(&subject->shares_memory);
    free(subject->copies);
    free(subject->ids);
    free(subject->shares);
    subject->copies = NULL;
    subject->ids = NULL;
    subject->shares = NULL;
}

double subject_flops(const struct subject *subject)
{
    const struct problem *problem = subject->problem;
    const double weights = (double)problem->shape.d * (double)problem->shape.h * (double)problem->batch;
    const int32_t sums = subject->n_masks == 0 ? 2 : 1 + (subject->top_k ? subject->top_k : subject->n_masks);
    return 2 * weights * (sums + (problem->op == OP_FFN));
}

double subject_time(struct subject *subject)
{
    /* A long call needs no other to warm up for it, except where the weights are to be in the cache. */
    const bool warm_up = subject->problem->regime == REGIME_WARM || subject->calls > 1;
    if (warm_up && run_calls(subject, 1) <= 0)
        return 0;
    return run_calls(subject, subject->calls) / (double)subject->calls;
}
