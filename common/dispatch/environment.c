/* SPDX-License-Identifier: MIT */
#include "common/core/names.h"
#include "common/core/variable.h"
#include "common/dispatch/objects.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Higher than the core count of any supported machine. */
#define MAX_THREADS 4096

static const char *const log_level_names[] = {
    [MGLU_LOG_ERROR] = "error",
    [MGLU_LOG_WARN] = "warn",
    [MGLU_LOG_INFO] = "info",
    [MGLU_LOG_DEBUG] = "debug",
};

static mglu_status read_threads(mglu_context *context, int32_t wanted)
{
    const char *text = mglu_variable("MGLU_NUM_THREADS");
    char *end;
    long number;

    if (wanted < 0 || wanted > MAX_THREADS)
        return mglu_fail(MGLU_ERROR_INVALID_ARGUMENT, "num_threads is %d, must be 0..%d", wanted, MAX_THREADS);
    context->host.num_threads = wanted ? wanted : 1;
    if (wanted || !text)
        return MGLU_OK;
    errno = 0;
    number = strtol(text, &end, 10);
    if (errno || *end || end == text || number < 1 || number > MAX_THREADS)
        return mglu_fail(MGLU_ERROR_INVALID_ARGUMENT, "MGLU_NUM_THREADS is '%s', must be a number 1..%d", text,
                         MAX_THREADS);
    context->host.num_threads = (int32_t)number;
    return MGLU_OK;
}

static mglu_status read_logger(mglu_context *context, const mglu_logger *wanted)
{
    size_t count = sizeof log_level_names / sizeof log_level_names[0];
    const char *text = mglu_variable("MGLU_LOG");
    char known[64];
    int level;

    if (wanted) {
        context->logger = *wanted;
        if (!wanted->log || (int)wanted->level < 0 || wanted->level > MGLU_LOG_DEBUG)
            return mglu_fail(MGLU_ERROR_INVALID_ARGUMENT, "logger: no function or an unknown level");
        if (!wanted->level)
            context->logger.level = MGLU_LOG_WARN;
        return MGLU_OK;
    }
    if (!text)
        return MGLU_OK;
    level = mglu_name_index(log_level_names, count, text);
    if (level < 0) {
        mglu_name_list(log_level_names, count, known, sizeof known);
        return mglu_fail(MGLU_ERROR_INVALID_ARGUMENT, "MGLU_LOG is unknown '%s'; known: %s", text, known);
    }
    context->logger = mglu_stderr_logger;
    context->logger.level = (mglu_log_level)level;
    return MGLU_OK;
}

/* Stores a copy in malloc memory, for the life of the context. NULL stays NULL. */
static mglu_status keep_text(const char *text, char **copy)
{
    *copy = text ? strdup(text) : NULL;
    return text && !*copy ? mglu_fail(MGLU_ERROR_OUT_OF_MEMORY, "out of memory") : MGLU_OK;
}

static mglu_status read_backends(mglu_context *context, const char *wanted)
{
    const char *source = wanted ? "backends" : "MGLU_BACKENDS";
    const char *list = wanted ? wanted : mglu_variable("MGLU_BACKENDS");
    mglu_status status;
    char reason[256];

    if (!list)
        return MGLU_OK;
    snprintf(reason, sizeof reason, "not opened, since %s is '%s'", source, list);
    status = mglu_names_check(source, list);
    if (status == MGLU_OK)
        status = keep_text(list, &context->allowed);
    return status == MGLU_OK ? keep_text(reason, &context->closed) : status;
}

mglu_status mglu_environment_read(mglu_context *context, const mglu_context_desc *desc)
{
    mglu_status status = read_threads(context, desc->num_threads);

    if (status == MGLU_OK)
        status = read_logger(context, desc->logger);
    if (status == MGLU_OK)
        status = keep_text(desc->max_isa ? desc->max_isa : mglu_variable("MGLU_MAX_ISA"), &context->max_isa);
    if (status == MGLU_OK)
        status = keep_text(mglu_variable("MGLU_BACKEND"), &context->default_backend);
    if (status == MGLU_OK)
        status = read_backends(context, desc->backends);
    if (status == MGLU_OK)
        status = keep_text(desc->cache_dir ? desc->cache_dir : mglu_variable("MGLU_CACHE_DIR"), &context->cache_dir);
    context->host.max_isa = context->max_isa;
    context->host.cache_dir = context->cache_dir;
    return status;
}
