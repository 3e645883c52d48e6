/* SPDX-License-Identifier: MIT */
#include "compute.h"

#include "pool.h"
#include "report.h"
#include "threads.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

double compute_seconds(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

/** 0: the library reads MGLU_NUM_THREADS, and refuses what is not a number. */
static int wanted_threads(int threads)
{
    const char *wanted = getenv("MGLU_NUM_THREADS");
    if (threads)
        return threads;
    return wanted && *wanted ? 0 : threads_usable();
}

static bool make_context(mglu_context **context, const struct compute_options *options, struct pool *pool)
{
    const mglu_parallel parallel = pool_hook(pool);
    const mglu_context_desc desc = {
        .struct_size = sizeof desc,
        .num_threads = pool ? pool_threads(pool) : wanted_threads(options->threads),
        .max_isa = options->max_isa,
        .parallel = pool ? &parallel : NULL,
        .logger = options->logger,
    };
    return mglu_context_create(&desc, context) == MGLU_OK || report_library(NULL);
}

bool compute_context(mglu_context **context)
{
    return make_context(context, &(const struct compute_options){0}, NULL);
}

bool compute_pool(struct pool **pool, int count)
{
    char *end = "";
    const int wanted = wanted_threads(count);
    const long threads = wanted ? wanted : strtol(getenv("MGLU_NUM_THREADS"), &end, 10);
    *pool = NULL;
    if (*end || threads <= 1 || threads > COMPUTE_MAX_THREADS)
        return true;
    *pool = pool_create((int)threads);
    if (*pool && pool_threads(*pool) < threads) {
        /* A quarter of what is possible stays for the program's memory. */
        const int possible = pool_threads(*pool);
        pool_destroy(*pool);
        *pool = pool_create(possible - possible / 4);
    }
    if (!*pool)
        return report_failure("out of memory");
    if (pool_threads(*pool) < threads)
        report_warning("%d of %ld threads are used: no more can be made", pool_threads(*pool), threads);
    return true;
}

static bool pick(struct compute *compute, const struct compute_options *options)
{
    if (options->own_pool && !compute_pool(&compute->pool, options->threads))
        return false;
    if (!make_context(&compute->context, options, compute->pool))
        return false;
    if (mglu_device_pick(compute->context, options->backend, &compute->device) != MGLU_OK)
        return report_library(NULL);
    compute->info.struct_size = sizeof compute->info;
    if (mglu_device_get_info(compute->device, &compute->info) != MGLU_OK)
        return report_library("device");
    return mglu_queue_create(compute->device, NULL, &compute->queue) == MGLU_OK || report_library(compute->info.name);
}

bool compute_open(struct compute *compute, const struct compute_options *options)
{
    *compute = (struct compute){.layer_flags = options->layer_flags};
    if (pick(compute, options))
        return true;
    compute_close(compute);
    return false;
}

void compute_close(struct compute *compute)
{
    mglu_queue_destroy(&compute->queue);
    mglu_context_destroy(&compute->context);
    pool_destroy(compute->pool);
    compute->pool = NULL;
}

void compute_describe(const struct compute *compute, char *text, size_t size)
{
    const mglu_device_info *info = &compute->info;
    const char *details = info->details && *info->details ? info->details : NULL;
    snprintf(text, size, "%s: %s%s%s%s", info->backend, info->name, details ? " (" : "", details ? details : "",
             details ? ")" : "");
    report_clean(text);
}

/* Memory for x and y where the device can't access the host's. */
static bool make_staging(struct ffn *ffn, mglu_device *device, int64_t max_batch)
{
    mglu_device_info info = {.struct_size = sizeof info};

    if (mglu_device_get_info(device, &info) != MGLU_OK)
        return false;
    return info.host_memory || (mglu_memory_create(device, (size_t)max_batch * ffn->x_row, &ffn->x) == MGLU_OK &&
                                mglu_memory_create(device, (size_t)max_batch * ffn->y_row, &ffn->y) == MGLU_OK);
}

bool ffn_create(struct ffn *ffn, mglu_device *device, const mglu_weights_desc *weights, const mglu_layer_desc *desc,
                const char *name)
{
    const int64_t columns = weights->output_size ? weights->output_size : weights->intermediate_size;

    *ffn = (struct ffn){
        .x_row = (size_t)weights->hidden_size * mglu_dtype_size(desc->x_dtype),
        .y_row = (size_t)columns * mglu_dtype_size(desc->y_dtype),
    };
    if (mglu_weights_create(device, weights, &ffn->weights) == MGLU_OK &&
        mglu_layer_create(ffn->weights, desc, &ffn->layer) == MGLU_OK &&
        mglu_memory_create(device, mglu_layer_workspace_size(ffn->layer), &ffn->workspace) == MGLU_OK &&
        make_staging(ffn, device, desc->max_batch))
        return true;
    report_library(name);
    ffn_destroy(ffn);
    return false;
}

void ffn_destroy(struct ffn *ffn)
{
    mglu_memory_destroy(&ffn->x);
    mglu_memory_destroy(&ffn->y);
    mglu_memory_destroy(&ffn->workspace);
    mglu_layer_destroy(&ffn->layer);
    mglu_weights_destroy(&ffn->weights);
}

static bool forward(struct ffn *ffn, mglu_queue *queue, int64_t batch, const void *x, void *y, const void *residual)
{
    const mglu_forward_args args = {
        .struct_size = sizeof args,
        .batch = batch,
        .x = {.data = x},
        .y = {.data = y},
        .residual = {.data = residual},
        .workspace = mglu_memory_data(ffn->workspace),
        .workspace_size = mglu_memory_size(ffn->workspace),
    };

    return mglu_forward(ffn->layer, queue, &args) == MGLU_OK && mglu_queue_wait(queue) == MGLU_OK;
}

/* The residual is copied to y's memory on the device, where y replaces it. */
static bool forward_staged(struct ffn *ffn, mglu_queue *queue, int64_t batch, const void *x, void *y,
                           const void *residual)
{
    const size_t x_bytes = (size_t)batch * ffn->x_row, y_bytes = (size_t)batch * ffn->y_row;
    void *staged_y = mglu_memory_data(ffn->y);

    return mglu_memory_write(ffn->x, queue, 0, x, x_bytes) == MGLU_OK &&
           (!residual || mglu_memory_write(ffn->y, queue, 0, residual, y_bytes) == MGLU_OK) &&
           forward(ffn, queue, batch, mglu_memory_data(ffn->x), staged_y, residual ? staged_y : NULL) &&
           mglu_memory_read(ffn->y, queue, 0, y, y_bytes) == MGLU_OK;
}

bool ffn_forward(struct ffn *ffn, mglu_queue *queue, int64_t batch, const void *x, void *y, const void *residual)
{
    return (ffn->x || ffn->y ? forward_staged(ffn, queue, batch, x, y, residual)
                             : forward(ffn, queue, batch, x, y, residual)) ||
           report_library("forward");
}
