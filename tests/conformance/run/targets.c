/* SPDX-License-Identifier: MIT */
#include "run/targets.h"

#include "run/guarded_memory.h"

#include <stdlib.h>
#include <string.h>

static bool complain(const char *what)
{
    fprintf(stderr, "mglu-conformance: %s: %s\n", what, mglu_last_error());
    return false;
}

/* A context with the plug-in, if one is named; `first` is the number of devices that came before it. */
static mglu_context *open_context(const struct options *options, const mglu_logger *logger, size_t *first,
                                  size_t *count)
{
    mglu_context_desc desc = {.struct_size = sizeof desc,
                              .max_isa = options->max_isa,
                              .allocator = &guarded_memory,
                              .parallel = options->parallel,
                              .logger = logger};
    mglu_context *context;

    *first = 0;
    if (mglu_context_create(&desc, &context) != MGLU_OK) {
        complain("context");
        return NULL;
    }
    if ((!options->plugin ||
         (mglu_device_count(context, first) == MGLU_OK && mglu_backend_load(context, options->plugin) == MGLU_OK)) &&
        mglu_device_count(context, count) == MGLU_OK)
        return context;
    complain(options->plugin ? options->plugin : "devices");
    mglu_context_destroy(&context);
    return NULL;
}

static bool open_reference(struct target *target)
{
    mglu_context_desc desc = {.struct_size = sizeof desc};

    return (mglu_context_create(&desc, &target->reference_context) == MGLU_OK &&
            mglu_device_pick(target->reference_context, "ref", &target->reference) == MGLU_OK) ||
           complain("the reference backend");
}

/* Opens device number `index`; false when it is not selected or can't be opened. */
static bool open_target(const struct options *options, size_t index, struct device_report *report)
{
    struct target *target = &report->target;
    size_t first, count;

    *target = (struct target){.max_isa = options->max_isa,
                              .pool_threads = options->pool_threads,
                              .plugin = options->plugin,
                              .seed = options->seed,
                              .logger = layer_log_open(&report->layers)};
    target->context = open_context(options, target->logger, &first, &count);
    if (!target->context) {
        layer_log_close(&report->layers);
        return false;
    }
    target->device = mglu_device_at(target->context, index);
    target->info.struct_size = sizeof target->info;
    if (mglu_device_get_info(target->device, &target->info) == MGLU_OK && target->info.available &&
        (!options->backend || strcmp(options->backend, target->info.backend) == 0) && open_reference(target))
        return true;
    mglu_context_destroy(&target->context);
    mglu_context_destroy(&target->reference_context);
    layer_log_close(&report->layers);
    return false;
}

/* Why nothing was opened; the library's reason where a backend was named. */
static void explain(const struct options *options, size_t first, size_t count)
{
    mglu_context *context = open_context(options, NULL, &first, &count);
    mglu_device_info info = {.struct_size = sizeof info};
    mglu_device *device;

    if (!context)
        return;
    if (options->backend && mglu_device_pick(context, options->backend, &device) != MGLU_OK)
        fprintf(stderr, "mglu-conformance: %s\n", mglu_last_error());
    for (size_t i = first; i < count && options->plugin; i++)
        if (mglu_device_get_info(mglu_device_at(context, i), &info) == MGLU_OK && !info.available)
            fprintf(stderr, "mglu-conformance: %s: %s\n", info.backend, info.reason);
    mglu_context_destroy(&context);
}

size_t open_targets(const struct options *options, struct device_report **reports)
{
    size_t first, count, opened = 0;
    mglu_context *context = open_context(options, NULL, &first, &count);

    *reports = NULL;
    if (!context)
        return 0;
    mglu_context_destroy(&context);
    *reports = calloc(count + 1, sizeof **reports);
    if (!*reports)
        exit(EXIT_FAILURE);
    for (size_t i = first; i < count; i++)
        if (open_target(options, i, &(*reports)[opened]))
            opened++;
    if (opened == 0)
        explain(options, first, count);
    return opened;
}
