/* SPDX-License-Identifier: MIT */
#include "layer_log.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool has_line(const struct layer_log *log, const char *text)
{
    for (int i = 0; i < log->count; i++)
        if (strcmp(log->lines[i], text) == 0)
            return true;
    return false;
}

static void keep(void *user, mglu_log_level level, const char *text)
{
    struct layer_log *log = user;

    if (!strstr(text, ": layer "))
        return;
    pthread_mutex_lock(&log->lock);
    if (!has_line(log, text)) {
        if (log->count == LAYER_LOG_LINES)
            memmove(log->lines[0], log->lines[1], (size_t)--log->count * sizeof log->lines[0]);
        snprintf(log->lines[log->count++], LAYER_LOG_LINE, "%s", text);
    }
    pthread_mutex_unlock(&log->lock);
}

const mglu_logger *layer_log_open(struct layer_log *log)
{
    const char *level = getenv("MGLU_LOG");

    *log = (struct layer_log){.logger = {.user = log, .log = keep, .level = MGLU_LOG_DEBUG}};
    pthread_mutex_init(&log->lock, NULL);
    return level && *level ? NULL : &log->logger;
}

void layer_log_close(struct layer_log *log)
{
    pthread_mutex_destroy(&log->lock);
}

void layer_log_clear(struct layer_log *log)
{
    log->count = 0;
}

void layer_log_kernels(const struct layer_log *log, char *text, size_t size)
{
    static const char begin[] = ": kernel ";
    size_t used = 0;

    text[0] = '\0';
    for (int i = 0; i < log->count && used < size; i++) {
        const char *kernel = strstr(log->lines[i], begin);
        const char *end = kernel ? strstr(kernel + strlen(begin), ": ") : NULL;
        if (end)
            used += (size_t)snprintf(text + used, size - used, "%s%.*s", used ? "; " : "",
                                     (int)(end - kernel - (ptrdiff_t)strlen(begin)), kernel + strlen(begin));
    }
}
