/* SPDX-License-Identifier: MIT */
#include "common/dispatch/objects.h"

#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

void mglu_log(const mglu_host *host, mglu_log_level level, const char *format, ...)
{
    const mglu_context *context = (const mglu_context *)host;
    char text[512];
    va_list arguments;

    if (!context->logger.log || level > context->logger.level)
        return;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    context->logger.log(context->logger.user, level, text);
}

/* One write per line, so that the lines of several threads stay whole; nothing can be done about a failing stderr. */
static void log_to_stderr(void *user, mglu_log_level level, const char *text)
{
    static const char *const names[] = {"", "error", "warn", "info", "debug"};
    char line[600];
    int length = snprintf(line, sizeof line, "mglu %s: %s\n", names[level], text);

    if (write(STDERR_FILENO, line, (size_t)length) < 0)
        return;
}

const mglu_logger mglu_stderr_logger = {.log = log_to_stderr};
