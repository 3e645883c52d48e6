/* SPDX-License-Identifier: MIT */
#include "compute.h"

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

bool compute_context(mglu_context **context, int threads)
{
    const char *wanted = getenv("MGLU_NUM_THREADS");
    const mglu_context_desc desc = {
        .struct_size = sizeof desc,
        .num_threads = threads || (wanted && *wanted) ? threads : threads_usable(),
    };
    return mglu_context_create(&desc, context) == MGLU_OK || report_library(NULL);
}

static bool pick(struct compute *compute, const char *backend, int threads)
{
    if (!compute_context(&compute->context, threads))
        return false;
    if (mglu_device_pick(compute->context, backend, &compute->device) != MGLU_OK)
        return report_library(NULL);
    compute->info.struct_size = sizeof compute->info;
    if (mglu_device_get_info(compute->device, &compute->info) != MGLU_OK)
        return report_library("device");
    return mglu_queue_create(compute->device, NULL, &compute->queue) == MGLU_OK || report_library(compute->info.name);
}

bool compute_open(struct compute *compute, const char *backend, int threads)
{
    *compute = (struct compute){0};
    if (pick(compute, backend, threads))
        return true;
    compute_close(compute);
    return false;
}

bool compute_open_host(struct compute *compute, const char *backend)
{
    if (!compute_open(compute, backend, 0))
        return false;
    if (compute->info.host_memory)
        return true;
    report_failure("%s: %s: devices with memory of their own are not supported by this command yet",
                   compute->info.backend, compute->info.name);
    compute_close(compute);
    return false;
}

void compute_close(struct compute *compute)
{
    mglu_queue_destroy(&compute->queue);
    mglu_context_destroy(&compute->context);
}

void compute_describe(const struct compute *compute, char *text, size_t size)
{
    const mglu_device_info *info = &compute->info;
    const char *details = info->details && *info->details ? info->details : NULL;
    snprintf(text, size, "%s: %s%s%s%s", info->backend, info->name, details ? " (" : "", details ? details : "",
             details ? ")" : "");
    report_clean(text);
}

bool ffn_create(struct ffn *ffn, mglu_device *device, const mglu_weights_desc *weights, const mglu_layer_desc *desc,
                const char *name)
{
    *ffn = (struct ffn){0};
    if (mglu_weights_create(device, weights, &ffn->weights) == MGLU_OK &&
        mglu_layer_create(ffn->weights, desc, &ffn->layer) == MGLU_OK &&
        mglu_memory_create(device, mglu_layer_workspace_size(ffn->layer), &ffn->workspace) == MGLU_OK)
        return true;
    report_library(name);
    ffn_destroy(ffn);
    return false;
}

void ffn_destroy(struct ffn *ffn)
{
    mglu_memory_destroy(&ffn->workspace);
    mglu_layer_destroy(&ffn->layer);
    mglu_weights_destroy(&ffn->weights);
}

bool ffn_forward(struct ffn *ffn, mglu_queue *queue, int64_t batch, const void *x, void *y, const void *residual)
{
    mglu_forward_args args = {
        .struct_size = sizeof args,
        .batch = batch,
        .x = {.data = x},
        .y = {.data = y},
        .residual = {.data = residual},
    };
    args.workspace = mglu_memory_data(ffn->workspace);
    args.workspace_size = mglu_memory_size(ffn->workspace);
    return (mglu_forward(ffn->layer, queue, &args) == MGLU_OK && mglu_queue_wait(queue) == MGLU_OK) ||
           report_library("forward");
}
