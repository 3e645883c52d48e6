/* SPDX-License-Identifier: MIT */
#include "bench/timer.h"
#include "gpu.h"

#include <mglu/cuda.h>

#include <stdlib.h>
#include <string.h>

struct events {
    struct gpu gpu;
    bool failed; /* since the first mark */
};

/** The driver's ordinal of a device: the backend lists all devices of the driver, in its order. */
static int ordinal_of(const struct compute *compute)
{
    mglu_device_info info = {.struct_size = sizeof info};
    int ordinal = 0;
    for (size_t i = 0; mglu_device_at(compute->context, i) != compute->device; i++)
        ordinal += mglu_device_get_info(mglu_device_at(compute->context, i), &info) == MGLU_OK &&
                   strcmp(info.backend, "cuda") == 0;
    return ordinal;
}

/** Replaces the device's queue by one on the stream of the events. */
static bool replace_queue(struct compute *compute, CUstream stream)
{
    const mglu_queue_desc desc = mglu_cuda_queue_desc(stream);
    mglu_queue *queue;
    if (mglu_queue_create(compute->device, &desc, &queue) != MGLU_OK)
        return false;
    mglu_queue_destroy(&compute->queue);
    compute->queue = queue;
    return true;
}

struct events *events_open(struct compute *compute)
{
    struct events *events = strcmp(compute->info.backend, "cuda") == 0 ? calloc(1, sizeof *events) : NULL;
    if (events && gpu_open(&events->gpu, ordinal_of(compute)) && replace_queue(compute, events->gpu.stream))
        return events;
    if (events)
        events_close(events);
    return NULL;
}

void events_close(struct events *events)
{
    gpu_close(&events->gpu);
    free(events);
}

void events_mark_begin(struct events *events)
{
    events->failed = !gpu_mark_begin(&events->gpu);
}

void events_mark_end(struct events *events)
{
    events->failed |= !gpu_mark_end(&events->gpu);
}

double events_seconds(struct events *events)
{
    const double seconds = events->failed ? -1 : gpu_seconds(&events->gpu);
    return seconds > 0 ? seconds : 0;
}
